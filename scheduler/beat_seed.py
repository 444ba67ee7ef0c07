"""The beat's two periodic tasks: seeded from the configuration, edited in the admin, and the editor wins (SPEC S1)."""

from __future__ import annotations

import json
import logging

from django.conf import settings
from django.db import DatabaseError, connection
from django_celery_beat.models import MICROSECONDS, SECONDS, IntervalSchedule, PeriodicTask

from scheduler import requests, wires

log = logging.getLogger(__name__)

CHECK = "scheduler.check_heartbeats"
TICK_NAME = "scheduler: place portfolios"
CHECK_NAME = "scheduler: check heartbeats"


def seed() -> None:
    """Make the rows that are missing. A row that still says what an older configuration said follows the new one."""
    config = settings.GINKGO.scheduler
    _seed(TICK_NAME, requests.TICK, config.schedule_interval)
    _seed(CHECK_NAME, CHECK, config.heartbeat_check_interval)


def seed_or_say() -> bool:
    """`seed`, and whether it went well; if not there is a log line and an alert.

    The rows are a convenience, for `scheduler.service` sees to the checks without them: whatever an operator, another
    scheduler or the database has made of them, no scheduler ends for it.
    """
    try:
        seed()
        every = intervals()
    except Exception as error:  # noqa: BLE001 - there is nothing in it that a scheduler should end for
        why = (str(error) or type(error).__name__).splitlines()[0]
        message = f"The beat's periodic tasks were not seeded, heartbeats are checked without them: {why}"
        log.error("%s", message)
        wires.alert("component_error", "warning", message, subject="beat")
        if isinstance(error, DatabaseError):
            connection.close()
        return False
    log.info("Portfolios are placed every %gs, heartbeats checked every %gs", every[TICK_NAME], every[CHECK_NAME])
    return True


def interval_of(name: str) -> float:
    """Seconds between two runs as the admin has them now; 0 if the row is absent, disabled or not an interval."""
    row = PeriodicTask.objects.select_related("interval").filter(name=name, enabled=True).first()
    if row is None or row.interval is None:
        return 0.0
    return float(row.interval.schedule.run_every.total_seconds())


def intervals() -> dict[str, float]:
    """`interval_of` both tasks, in one query."""
    rows = PeriodicTask.objects.select_related("interval").filter(name__in=(TICK_NAME, CHECK_NAME), enabled=True)
    found = {row.name: float(row.interval.schedule.run_every.total_seconds()) for row in rows if row.interval}
    return {name: found.get(name, 0.0) for name in (TICK_NAME, CHECK_NAME)}


def _seed(name: str, task: str, seconds: float) -> None:
    every, period = _whole(seconds)
    interval = _interval(every, period)
    wanted = {
        "task": task,
        "interval": interval,
        "queue": wires.SCHEDULER_QUEUE,
        # A beat that nobody took is worth nothing once the next is due.
        "expire_seconds": max(1, int(seconds)),
        "kwargs": json.dumps({}),
        "description": _mark(interval),
    }
    row, made = PeriodicTask.objects.select_related("interval").get_or_create(name=name, defaults=wanted)
    if made or row.interval is None or (row.interval.every, row.interval.period) == (every, period):
        return
    if row.description == _mark(row.interval):
        row.interval, row.description, row.expire_seconds = interval, _mark(interval), max(1, int(seconds))
        row.save()
    else:
        log.info("'%s' runs %s as set in the admin, not every %gs as configured", name, row.interval, seconds)


def _interval(every: int, period: str) -> IntervalSchedule:
    """The first of its kind: nothing keeps an operator, or two schedulers that start together, from making two."""
    found = IntervalSchedule.objects.filter(every=every, period=period).order_by("pk").first()
    return found or IntervalSchedule.objects.create(every=every, period=period)


def _whole(seconds: float) -> tuple[int, str]:
    if seconds == int(seconds):
        return int(seconds), SECONDS
    return round(seconds * 1_000_000), MICROSECONDS


def _mark(interval: IntervalSchedule) -> str:
    """What an unedited row's description says of its interval."""
    return f"Seeded from the configuration: {interval}."
