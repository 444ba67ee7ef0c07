"""The scheduler's Celery tasks. Beat sends them at the intervals of `scheduler.beat_seed`; others on request."""

from __future__ import annotations

import threading

from celery import shared_task
from celery.signals import beat_init, worker_shutting_down

from scheduler import beat_seed, cycle, requests

SETTLE_EVERY = 0.2
"""Seconds between looks at moves under way, so that the target hears of its portfolio at once."""
_settling = threading.Lock()


@shared_task(name=requests.TICK, ignore_result=True)
def tick(trigger: str = "beat", threshold: int | None = None) -> None:
    """The full round (SPEC S1, S2)."""
    follow_up(cycle.tick(trigger, threshold))


@shared_task(name=beat_seed.CHECK, ignore_result=True)
def check_heartbeats() -> None:
    """The heartbeat check, with whatever failover it calls for (SPEC S3)."""
    follow_up(cycle.check())


@shared_task(name=requests.SETTLE, ignore_result=True)
def settle_moves() -> None:
    """Look at the moves under way until none is; each ends by its deadline. One such watch a process."""
    if not _settling.acquire(blocking=False):
        return
    try:
        while cycle.settle() and not cycle.halt.wait(SETTLE_EVERY):
            pass
    finally:
        _settling.release()


def follow_up(outcome: cycle.Outcome) -> None:
    """After a round that left moves under way: have them watched closely."""
    if outcome.open_moves:
        requests.request_settling()


@beat_init.connect
def seed_schedule(**_: object) -> None:
    """`celery beat` alone finds its schedule too."""
    beat_seed.seed()


@worker_shutting_down.connect
def halt(**_: object) -> None:
    """A worker that stops waits for its tasks: let them be brief."""
    cycle.halt.set()
