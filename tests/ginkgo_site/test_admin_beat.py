"""How often the scheduler runs is set in the admin, and what is set there wins over the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from pytest_django import Settings

from scheduler import beat_seed

pytestmark = pytest.mark.django_db


def edit(browser: Client, row: Any, **changes: Any) -> None:
    """The row's own form, as it is shown, with these changes, saved."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    form = browser.get(url).context["adminform"].form
    shown = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    sent = {name: "on" if value is True else value for name, value in {**shown, **changes}.items()}
    for name in [name for name, value in sent.items() if hasattr(value, "strftime")]:
        at = sent.pop(name)
        sent |= {f"{name}_0": f"{at:%Y-%m-%d}", f"{name}_1": f"{at:%H:%M:%S}"}
    answer = browser.post(url, {name: value for name, value in sent.items() if value not in (None, False)})
    assert answer.status_code == 302, answer.context["adminform"].form.errors


def test_an_interval_chosen_in_the_admin_wins_over_the_configuration(admin_client: Client, settings: Settings) -> None:
    beat_seed.seed()
    task = PeriodicTask.objects.get(name=beat_seed.TICK_NAME)
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == settings.GINKGO.scheduler.schedule_interval
    before = PeriodicTasks.last_change()
    other = IntervalSchedule.objects.create(every=77, period="seconds")
    edit(admin_client, task, interval=other.pk)
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == 77
    after = PeriodicTasks.last_change()
    assert after is not None and after != before  # by which a running beat sees that it has to read again
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == 77


def test_an_interval_that_is_itself_edited_wins_too(admin_client: Client) -> None:
    beat_seed.seed()
    task = PeriodicTask.objects.get(name=beat_seed.CHECK_NAME)
    edit(admin_client, task.interval, every=13)
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.CHECK_NAME) == 13


def test_one_that_was_switched_off_stays_off(admin_client: Client) -> None:
    beat_seed.seed()
    edit(admin_client, PeriodicTask.objects.get(name=beat_seed.TICK_NAME), enabled=False)
    beat_seed.seed()
    assert beat_seed.interval_of(beat_seed.TICK_NAME) == 0
