"""The scheduler's round: look at the nodes, plan, hand over, tell. No transaction spans it (SPEC S1).

1. the lease is taken (a crash: it expires);
2. the census: Node rows follow the heartbeats (a crash: the next round does the same again);
3. planned moves that are over are closed, stopped portfolios released (each a compare-and-set of its own);
4. the plan is made from what MySQL says now, and carried out hand-over by hand-over (a crash between two: the next
   round plans for the rest);
5. the new version is written to MySQL, Redis and Kafka if anything changed (a crash before: the next round sees that
   the assignments differ from the last version and writes it).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError

from portfolios import connections, livestate, loads
from scheduler import assignments, commands, handover, moves, plan_store, planner, registry, staleness, wires
from scheduler.lease import Lease
from scheduler.models import Plan
from scheduler.registry import Census

log = logging.getLogger(__name__)

BUSY = "busy"
DONE = "done"
REDIS_AWAY = "redis away"
DATABASE_AWAY = "database away"
_ROUNDS_AT_MOST = 5
"""How often one call goes round again for requests that came meanwhile; the next beat does the rest."""
_LOOK_AGAIN = 0.2
"""Seconds between two looks whether the round of somebody else is over."""


halt = threading.Event()
"""Set when this process stops: a round under way leaves the rest of its plan to the next scheduler."""
_last_round = [time.monotonic()]


_PATIENCE = timedelta(seconds=30)
"""How long a portfolio may wait for a place before that is an alert: nodes are just starting, perhaps."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to: `result` is DONE, BUSY (the lease's holder goes round again), or which server was away.

    `moves` it has begun and portfolios it has left `unplaced`; `open_moves` are those under way at its end, whoever
    began them.
    """

    result: str
    moves: int = 0
    unplaced: int = 0
    open_moves: int = 0


def last_round() -> float:
    """When a round of this process last began, on the monotonic clock; that another held the lease counts too."""
    return _last_round[0]


def utcnow() -> datetime:
    return datetime.now(UTC)


def tick(
    trigger: str = "beat",
    threshold: int | None = None,
    clock: Callable[[], datetime] = utcnow,
    patience: float = 0.0,
) -> Outcome:
    """The full round: plan and balance. `threshold` overrides the configured imbalance for this one.

    `patience`: seconds for which the end of another's round is waited for, before it is BUSY.
    """
    return _hold_and_run(trigger, True, threshold, clock, patience)


def check(clock: Callable[[], datetime] = utcnow) -> Outcome:
    """The heartbeat check: a round that plans only if something is not where it should be."""
    return _hold_and_run("heartbeat check", False, None, clock, 0.0)


def settle(clock: Callable[[], datetime] = utcnow) -> int:
    """Close the planned moves that are over, and tell everybody; how many are still under way. Needs no lease."""
    try:
        handover.wait_briefly_for_locks()
        if moves.settle_by_what_mysql_says(clock()):
            check(clock)
        return len(moves.under_way())
    except DatabaseError as error:
        log.error("The database does not answer, the moves under way wait: %s", _short(error))
        return 0


def _hold_and_run(
    trigger: str, full: bool, threshold: int | None, clock: Callable[[], datetime], patience: float
) -> Outcome:
    _last_round[0] = time.monotonic()
    try:
        lease = _acquire(clock, patience)
        if lease is None:
            if full:
                Lease.ask_holder_to_go_round_again()
            return Outcome(BUSY)
        try:
            outcome = _Round(lease, clock, trigger, full, threshold).run()
            for _ in range(_ROUNDS_AT_MOST):
                if outcome.result != DONE or lease.release():
                    break
                again = _Round(lease, clock, "request", True, None).run()
                if again.result != DONE:
                    break
                outcome = replace(outcome, open_moves=again.open_moves)
            return outcome
        finally:
            lease.give_up()
    except DatabaseError as error:
        log.error("The database does not answer, no portfolio is placed until it does: %s", _short(error))
        return Outcome(DATABASE_AWAY)


def _acquire(clock: Callable[[], datetime], patience: float) -> Lease | None:
    # Whoever waits asks for no round: the holder would go round for it again and again, and hold the lease for longer.
    deadline = time.monotonic() + patience
    while (lease := Lease.acquire(clock())) is None:
        if time.monotonic() >= deadline or halt.wait(_LOOK_AGAIN):
            return None
    return lease


class _Round:
    def __init__(
        self, lease: Lease, clock: Callable[[], datetime], trigger: str, full: bool, threshold: int | None
    ) -> None:
        self.lease = lease
        self.clock = clock
        self.trigger = trigger
        self.full = full
        self.config = settings.GINKGO.scheduler
        self.threshold = self.config.imbalance_threshold if threshold is None else threshold

    def run(self) -> Outcome:
        now = self.clock()
        handover.wait_briefly_for_locks()
        try:
            census = registry.take_census(now)
            news = census.verdict.changed
            if census.verdict.back:
                log.info("Rebalancing Portfolio assignments...")
            measured = loads.read(livestate.client())
            holdings = assignments.read(measured)
            loads.forget(livestate.client(), measured.keys() - holdings.owners.keys())
            wanted = frozenset(d.id for d in holdings.demands)
            settled = moves.settle(holdings.owners, wanted, census.live, now)
            stopped = assignments.stop_unwanted(holdings, census.live, now)
            if settled or stopped:
                holdings = assignments.read(measured)
            under_way = moves.under_way()
            made = planner.Plan({}, (), self._last_unplaced())
            done: list[planner.Move] = []
            held = True
            if self.full or news or _astray(holdings, census, under_way):
                made = self._plan(holdings, census, under_way, news)
                done, held = assignments.apply(made.moves, holdings, self._still_held, now)
            if held:
                self._tell(made, done, census)
            commands.sweep(now)
            staleness.check(livestate.client(), now)
            if self.full:
                connections.prune()
                commands.prune(now)
            return Outcome(DONE, len(done), len(made.unplaced), len(moves.under_way()))
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            if registry.note_silence():
                log.error("Redis does not answer, no heartbeat can be judged until it does: %s", _short(error))
            return Outcome(REDIS_AWAY)

    def _plan(
        self, holdings: assignments.Holdings, census: Census, under_way: dict[str, str], news: bool
    ) -> planner.Plan:
        # A check that only mends does not balance too; leaving a drained node is worth its moves at any time.
        drained = any(not o.enabled for o in census.offers)
        budget = self.config.max_moves_per_tick - len(under_way) if self.full or news or drained else 0
        return planner.plan(
            holdings.demands,
            census.offers,
            holdings.current(),
            max_moves=max(0, budget),
            threshold=self.threshold,
            moving=under_way,
            vacating=holdings.vacating(),
        )

    def _tell(self, made: planner.Plan, done: list[planner.Move], census: Census) -> None:
        plan, new = plan_store.record(done, made.unplaced, len(census.offers), self.trigger)
        if new:
            plan_store.prune()
            for portfolio_id, reason in made.unplaced.items():
                log.info("Portfolio %s waits: %s", portfolio_id, reason)
        elif self.clock() - plan.created_at >= _PATIENCE:
            _alert_unplaced(made.unplaced)
        client = livestate.client()
        if new or not plan_store.in_redis(client, plan):
            plan_store.write_to_redis(client, plan)
        client.hset(livestate.SCHEDULER_STATUS, mapping=self._status(plan, census))

    def _status(self, plan: Plan, census: Census) -> dict[Any, str]:
        at = self.clock().isoformat()
        doubted = census.verdict.watch.believe_after
        status: dict[Any, str] = {
            "scheduler_status": "running",
            "plan_version": str(plan.version),
            "node_count": str(len(census.pulses)),
            "portfolio_count": str(len(plan.placements)),
            "unplaced_count": str(len(plan.unplaced)),
            "last_check": at,
            "believes_losses_after": doubted.isoformat() if doubted else "",
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
        }
        return status | ({"last_run": at, "last_trigger": self.trigger} if self.full else {})

    def _still_held(self) -> bool:
        return not halt.is_set() and self.lease.still_held(self.clock())

    def _last_unplaced(self) -> dict[str, str]:
        last = Plan.objects.values_list("unplaced", flat=True).first()
        return dict(last or {})


def _astray(holdings: assignments.Holdings, census: Census, under_way: dict[str, str]) -> bool:
    """Whether any portfolio that shall run is with nobody, or with a node that is offline, unhealthy or drained."""
    good = {o.node_id for o in census.offers if o.healthy and o.enabled}
    return any(holdings.owners[d.id].node_id not in good and d.id not in under_way for d in holdings.demands)


def _alert_unplaced(unplaced: dict[str, str]) -> None:
    for portfolio_id, reason in unplaced.items():
        message = f"Portfolio {portfolio_id} cannot be placed: {reason}"
        wires.alert("unplaced", "warning", message, at_most_every=300, subject=portfolio_id, portfolio_id=portfolio_id)


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
