"""The beat's rows: seeded once, following the configuration until an operator edits them."""

from __future__ import annotations

from typing import Any

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from scheduler import beat_seed

pytestmark = pytest.mark.django_db


@pytest.fixture
def configured(settings: Any) -> Any:
    def configure(**intervals: float) -> None:
        scheduler = settings.GINKGO.scheduler.model_copy(update=intervals)
        settings.GINKGO = settings.GINKGO.model_copy(update={"scheduler": scheduler})

    return configure


def test_the_rows_are_made_from_the_configuration() -> None:
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == 30
    assert beat_seed.interval_of(beat_seed.CHECK_NAME) == 5
    row = PeriodicTask.objects.get(name=beat_seed.CHECK_NAME)
    assert (row.task, row.queue, row.expire_seconds) == ("scheduler.check_heartbeats", "scheduler", 5)


def test_seeding_again_changes_nothing() -> None:
    beat_seed.seed()
    beat_seed.seed()
    assert PeriodicTask.objects.filter(task__startswith="scheduler.").count() == 2


def test_of_two_equal_intervals_either_will_do(configured: Any) -> None:
    """Nothing keeps an operator who edits one in the admin from making a second."""
    beat_seed.seed()
    twins = [IntervalSchedule.objects.create(every=5, period="seconds") for _ in range(2)]
    PeriodicTask.objects.filter(name=beat_seed.CHECK_NAME).update(interval=twins[1])
    beat_seed.seed()
    assert PeriodicTask.objects.get(name=beat_seed.CHECK_NAME).interval == twins[1], "it is as configured: left alone"
    configured(heartbeat_check_interval=7)
    beat_seed.seed()
    configured(heartbeat_check_interval=5)
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.CHECK_NAME) == 5
    assert IntervalSchedule.objects.filter(every=5, period="seconds").count() == 3


def test_an_unedited_row_follows_a_new_configuration(configured: Any) -> None:
    beat_seed.seed()
    configured(heartbeat_check_interval=0.5)
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.CHECK_NAME) == 0.5


def test_an_operators_interval_wins_over_the_configuration(configured: Any) -> None:
    beat_seed.seed()
    edited, _ = IntervalSchedule.objects.get_or_create(every=2, period="minutes")
    PeriodicTask.objects.filter(name=beat_seed.TICK_NAME).update(interval=edited)
    configured(schedule_interval=10)
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == 120


def test_a_row_switched_off_stays_off() -> None:
    beat_seed.seed()
    PeriodicTask.objects.update(enabled=False)
    beat_seed.seed()
    assert not PeriodicTask.objects.filter(name=beat_seed.TICK_NAME, enabled=True).exists()
