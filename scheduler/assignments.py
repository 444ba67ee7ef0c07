"""Making a plan true: every change of owner is one compare-and-set, and a lost one is simply left to the next tick."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from portfolios import lifecycle
from portfolios.loads import Measured
from portfolios.models import Assignment, Command, Portfolio
from portfolios.models.command import CommandState
from portfolios.models.portfolio import DesiredState, Status
from portfolios.ownership import NOBODY, Ownership
from scheduler import commands, moves
from scheduler.demand import PortfolioDemand
from scheduler.handover import give
from scheduler.models import Requirement
from scheduler.planner import Move

log = logging.getLogger(__name__)

_STOP_AGAIN_AFTER = timedelta(seconds=30)
_ASKED_WITHIN = timedelta(seconds=60)
"""So long a start or stop that the scheduler sends is due to whoever wished it; later it is the scheduler's own."""
_A_CODE = 1.0
"""Events a second that a code is reckoned with where nothing was measured at all."""
_NOTHING: Mapping[str, Measured] = MappingProxyType({})


@dataclass(frozen=True)
class Holdings:
    """Every assignment as read, and what the owners of the portfolios want."""

    owners: Mapping[str, Ownership]
    demands: tuple[PortfolioDemand, ...]

    def current(self) -> dict[str, str]:
        return {d.id: self.owners[d.id].node_id for d in self.demands if d.id in self.owners}

    def to_stop(self) -> list[Ownership]:
        """Assigned, though nobody wants them to run."""
        wanted = {d.id for d in self.demands}
        return [o for o in self.owners.values() if o.node_id != NOBODY and o.portfolio_id not in wanted]

    def vacating(self) -> dict[str, int]:
        """How many portfolios each node has yet to give back: their places are not free before that."""
        return Counter(o.node_id for o in self.to_stop())


def read(measured: Mapping[str, Measured] = _NOTHING) -> Holdings:
    """All assignments and demands as of now, in three queries; `measured` is what the nodes say of their loads.

    A portfolio that was never measured is reckoned with as many events a code as those that were.
    """
    requirements = dict(Requirement.objects.values_list("portfolio_id", "labels"))
    owners = {
        row[0]: Ownership(*row) for row in Assignment.objects.values_list("portfolio_id", "node_id", "epoch").iterator()
    }
    wanted = Portfolio.objects.filter(desired_state=DesiredState.RUNNING).values_list("id", "market", "config")
    rows = [(pid, market, _codes(config)) for pid, market, config in wanted.iterator() if pid in owners]
    a_code = _events_a_code(rows, measured)
    demands = tuple(
        _demand(pid, market, requires(requirements.get(pid)), measured.get(pid) or Measured(rate=codes * a_code))
        for pid, market, codes in rows
    )
    return Holdings(owners, demands)


def _demand(portfolio_id: str, market: str, labels: tuple[tuple[str, str], ...], load: Measured) -> PortfolioDemand:
    return PortfolioDemand(portfolio_id, market, load.rate, labels, load.cpu, load.queue)


def _events_a_code(rows: Iterable[tuple[str, str, int]], measured: Mapping[str, Measured]) -> float:
    known = [(measured[pid].rate, codes) for pid, _, codes in rows if pid in measured]
    return sum(rate for rate, _ in known) / sum(codes for _, codes in known) if known else _A_CODE


def apply(
    planned: Iterable[Move], holdings: Holdings, still_held: Callable[[], bool], now: datetime
) -> tuple[list[Move], bool]:
    """Carry out the moves one by one; those done (or begun), and whether the lease lasted.

    A move whose portfolio has another owner by now is dropped: somebody else moved it.
    """
    done: list[Move] = []
    began = time.monotonic()
    planned = _grouped(planned)
    starters = _who_asked(commands.PORTFOLIO_START, now) if any(m.kind == "place" for m in planned) else {}
    for move in planned:
        if not still_held():
            log.warning("This scheduler stops or has lost its lease: the rest of the plan is left to the next round")
            return done, False
        if _apply_one(move, holdings.owners[move.portfolio_id], starters, now):
            done.append(move)
    if any(m.kind == "failover" for m in done):
        log.info("Migration completed in %.1fs", time.monotonic() - began)
    return done, True


def _apply_one(move: Move, owner: Ownership, starters: Mapping[str, str], now: datetime) -> bool:
    if move.kind == "move":
        return moves.begin(owner, move.target, move.reason, now)
    given = give(owner, move.target, move.reason)
    if given is None:
        return False
    if move.kind == "failover":
        log.info("Portfolio %s migrated successfully", move.portfolio_id)
        commands.send(commands.MIGRATE_IN, move.portfolio_id, move.target, given.epoch, {"source": move.source})
    else:
        log.info("Portfolio %s assigned to %s (epoch %d)", move.portfolio_id, move.target, given.epoch)
        who = starters.get(move.portfolio_id, commands.SCHEDULER)
        commands.send(commands.PORTFOLIO_START, move.portfolio_id, move.target, given.epoch, issued_by=who)
    return True


def stop_unwanted(holdings: Holdings, live: frozenset[str], now: datetime) -> int:
    """Ask the nodes to stop what shall not run; release what a dead node cannot give back. How many it was."""
    unwanted = holdings.to_stop()
    if not unwanted:
        return 0
    recent = Command.objects.filter(
        command_type=commands.PORTFOLIO_STOP, created_at__gt=now - _STOP_AGAIN_AFTER
    ).values_list("target_id", "epoch")
    asked = set(recent)
    stoppers = _who_asked(commands.PORTFOLIO_STOP, now)
    for owner in unwanted:
        if owner.node_id in live:
            if (owner.portfolio_id, owner.epoch) not in asked:
                who = stoppers.get(owner.portfolio_id, commands.SCHEDULER)
                commands.send(
                    commands.PORTFOLIO_STOP, owner.portfolio_id, owner.node_id, owner.epoch, issued_by=who
                )  # fmt: skip
        elif give(owner, NOBODY, f"stopped by its owner; node {owner.node_id} is offline") is not None:
            log.info("Portfolio %s stopped: node %s is offline", owner.portfolio_id, owner.node_id)
            lifecycle.enter(owner.portfolio_id, Status.STOPPED, f"node {owner.node_id} is offline", taking_over=True)
    return len(unwanted)


def _who_asked(command_type: str, now: datetime) -> dict[str, str]:
    """Portfolio → who has wished it of late; a wish is a command that went to no node."""
    wishes = Command.objects.filter(
        command_type=command_type, node_id="", created_at__gt=now - _ASKED_WITHIN,
        state__in=(CommandState.RUNNING, CommandState.DONE),
    )  # fmt: skip
    return dict(wishes.order_by("created_at").values_list("target_id", "issued_by"))


def _grouped(planned: Iterable[Move]) -> list[Move]:
    """In the plan's order of urgency; says once for each pair of nodes what is coming."""
    planned = list(planned)
    if any(m.kind == "place" for m in planned):
        log.info("Assigning Portfolios to available nodes...")
    pairs = dict.fromkeys((m.source, m.target) for m in planned if m.kind == "failover")
    for source, target in pairs:
        log.info("Triggering Portfolio migration from %s to %s", source, target)
    return planned


def _codes(config: object) -> int:
    codes = config.get("codes") if isinstance(config, dict) else None
    return max(1, len(codes)) if isinstance(codes, list) else 1


def requires(labels: object) -> tuple[tuple[str, str], ...]:
    """A Requirement's labels as the planner takes them."""
    if not isinstance(labels, dict):
        return ()
    return tuple(sorted((str(key), str(value)) for key, value in labels.items()))
