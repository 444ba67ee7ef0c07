"""A scheduler whose beat's rows cannot be seeded runs, says so, and tries again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from scheduler import beat_seed, cycle, service, tasks, wires
from scheduler.service import SEED_AGAIN, SchedulerService

pytestmark = pytest.mark.django_db


class Idle:
    """In the place of what the scheduler's threads do."""

    def run(self, stop: threading.Event) -> None:
        stop.wait()


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was raised: type, severity, message."""
    raised: list[tuple[Any, ...]] = []
    monkeypatch.setattr(wires, "alert", lambda *words, **_: raised.append(words))
    return raised


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Seeding fails, by what nobody has thought of."""
    with monkeypatch.context() as patch:

        def fail() -> None:
            raise IntervalSchedule.MultipleObjectsReturned("two of one kind\nand more of it")

        patch.setattr(beat_seed, "seed", fail)
        yield patch


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerService]:
    """Whose threads do nothing."""
    monkeypatch.setattr(cycle, "halt", threading.Event())
    monkeypatch.setattr(service, "CommandDoor", Idle)
    for body in ("_listen", "_watch"):
        monkeypatch.setattr(SchedulerService, body, lambda self: self._stop.wait())
    made = SchedulerService(None, beat=False)
    yield made
    made.stop(1.0)


def test_it_starts_all_the_same_and_says_it_in_one_line(
    broken: pytest.MonkeyPatch,
    scheduler: SchedulerService,
    alerts: list[tuple[Any, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler.start()
    assert scheduler.started
    assert {thread.name for thread in threading.enumerate()} >= {"scheduler-watch", "scheduler-events"}
    (said,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert said.getMessage() == (
        "The beat's periodic tasks were not seeded, heartbeats are checked without them: two of one kind"
    )
    assert said.exc_info is None
    assert alerts == [("component_error", "warning", said.getMessage())]


def test_it_tries_again_a_minute_later_and_not_before_until_it_is_done(
    broken: pytest.MonkeyPatch, scheduler: SchedulerService, alerts: list[tuple[Any, ...]]
) -> None:
    scheduler.seed(100.0)
    scheduler.seed(101.0)
    assert len(alerts) == 1
    broken.undo()
    scheduler.seed(100.0 + SEED_AGAIN - 1)
    assert not PeriodicTask.objects.filter(name=beat_seed.CHECK_NAME).exists()
    scheduler.seed(100.0 + SEED_AGAIN)
    assert PeriodicTask.objects.filter(name=beat_seed.CHECK_NAME).exists()
    PeriodicTask.objects.all().delete()
    scheduler.seed(1000.0)
    assert not PeriodicTask.objects.filter(name=beat_seed.CHECK_NAME).exists(), "what an operator deletes stays so"


def test_celerys_own_beat_goes_on_as_well(broken: pytest.MonkeyPatch, alerts: list[tuple[Any, ...]]) -> None:
    tasks.seed_schedule()
    assert len(alerts) == 1
