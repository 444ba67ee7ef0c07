"""The scheduler's Celery tasks. Beat sends them at the intervals of `scheduler.beat_seed`; others on request."""

from __future__ import annotations

import threading
from typing import Any

from celery import shared_task
from celery.signals import beat_init, worker_shutting_down

from market.dispatcher import Dispatcher, Handler, Order, Refused
from scheduler import beat_seed, commands, cycle, requests, wires

SETTLE_EVERY = 0.2
"""Seconds between looks at moves under way, so that the target hears of its portfolio at once."""
PATIENCE = 5.0
"""Seconds for which an asked-for balancing waits for the end of a round that happens to be under way."""
_settling = threading.Lock()
_NOT_NOW = {
    cycle.BUSY: "another round was under way: ask again",
    cycle.REDIS_AWAY: "Redis does not answer",
    cycle.DATABASE_AWAY: "the database does not answer",
}


@shared_task(name=requests.TICK, ignore_result=True)
def tick(trigger: str = "beat") -> None:
    """The full round (SPEC S1, S2)."""
    follow_up(cycle.tick(trigger))


@shared_task(name=commands.REBALANCE, ignore_result=True)
def rebalance(command_id: str, params: dict[str, Any]) -> str:
    """The full round, balancing to within one portfolio, once; the state that the command ends in."""
    handlers: dict[str, Handler] = {commands.REBALANCE: _rebalance}
    return Dispatcher("", handlers).execute(Order(command_id, commands.REBALANCE, wires.SOURCE, None, params, "celery"))


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


def _rebalance(order: Order) -> str:
    outcome = cycle.tick(f"rebalance by {order.issued_by}", threshold=1, patience=PATIENCE)
    follow_up(outcome)
    if outcome.result != cycle.DONE:
        raise Refused(_NOT_NOW.get(outcome.result, outcome.result))
    return f"moves begun: {outcome.moves}"


def follow_up(outcome: cycle.Outcome) -> None:
    """After a round that left moves under way: have them watched closely."""
    if outcome.open_moves:
        requests.request_settling()


@beat_init.connect
def seed_schedule(**_: object) -> None:
    """`celery beat` alone finds its schedule too."""
    beat_seed.seed_or_say()


@worker_shutting_down.connect
def halt(**_: object) -> None:
    """A worker that stops waits for its tasks: let them be brief."""
    cycle.halt.set()
