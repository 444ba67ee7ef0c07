"""Planned moves: the source is asked, and if it has not handed over in time the scheduler takes the epoch (SPEC S4).

Steps, and what a crash after each leaves behind:
1. the PlannedMove row is written (a crash: the next check finds it, and at its deadline takes the epoch);
2. `portfolio.migrate_out` goes to the source (lost: the same);
3. the source stops it and commits its last checkpoint and the hand-over in one transaction, or, past the deadline, the
   scheduler hands over itself (a crash: the epoch has changed, which is what `settle` looks at);
4. `settle` sees the new epoch, tells the target, deletes the row (a crash before the telling: the target's reconciler
   finds what it owns).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from portfolios.models import Assignment
from portfolios.models.portfolio import DesiredState
from portfolios.ownership import Ownership
from scheduler import commands
from scheduler.handover import give
from scheduler.models import Node, PlannedMove
from scheduler.models.node import NodeState

log = logging.getLogger(__name__)


def begin(owner: Ownership, target: str, reason: str, now: datetime, issued_by: str = "scheduler") -> bool:
    """Ask the owner to hand the portfolio to `target`. False if a move of this epoch is under way already."""
    PlannedMove.objects.filter(portfolio_id=owner.portfolio_id).exclude(epoch=owner.epoch).delete()
    try:
        with transaction.atomic():
            PlannedMove.objects.create(
                portfolio_id=owner.portfolio_id,
                source=owner.node_id,
                target=target,
                epoch=owner.epoch,
                reason=reason[:300],
                started_at=now,
                deadline=now + timedelta(seconds=settings.GINKGO.scheduler.move_timeout),
            )
    except IntegrityError:
        return False
    log.info("Moving Portfolio %s from %s to %s: %s", owner.portfolio_id, owner.node_id, target, reason)
    params = {"source": owner.node_id, "target": target, "reason": reason}
    command = commands.send(commands.MIGRATE_OUT, owner.portfolio_id, owner.node_id, owner.epoch, params, issued_by)
    PlannedMove.objects.filter(portfolio_id=owner.portfolio_id, epoch=owner.epoch).update(command_id=command.command_id)
    return True


def under_way() -> dict[str, str]:
    """Portfolio → target of every planned move that is not over."""
    return dict(PlannedMove.objects.values_list("portfolio_id", "target"))


def settle(owners: Mapping[str, Ownership], wanted: frozenset[str], live: frozenset[str], now: datetime) -> int:
    """Close every move that is over, take the epoch of those past their deadline; how many were closed."""
    return _settle(PlannedMove.objects.all(), owners, wanted, live, now)


def _settle(
    rows: Iterable[PlannedMove],
    owners: Mapping[str, Ownership],
    wanted: frozenset[str],
    live: frozenset[str],
    now: datetime,
) -> int:
    return sum(_settle_one(row, owners.get(row.portfolio_id), wanted, live, now) for row in rows)


def settle_by_what_mysql_says(now: datetime) -> int:
    """`settle` without a look at the heartbeats: cheap enough to be asked several times a second."""
    # Read once: of one that is asked for a moment later nothing else would be known, and it would be called off.
    planned = list(PlannedMove.objects.all())
    if not planned:
        return 0
    rows = Assignment.objects.filter(portfolio_id__in=[row.portfolio_id for row in planned])
    owners = {row[0]: Ownership(*row) for row in rows.values_list("portfolio_id", "node_id", "epoch")}
    wanted = rows.filter(portfolio__desired_state=DesiredState.RUNNING).values_list("portfolio_id", flat=True)
    live = Node.objects.filter(state=NodeState.ONLINE).values_list("node_id", flat=True)
    return _settle(planned, owners, frozenset(wanted), frozenset(live), now)


def _settle_one(
    row: PlannedMove, owner: Ownership | None, wanted: frozenset[str], live: frozenset[str], now: datetime
) -> bool:
    if owner is None or row.portfolio_id not in wanted:
        return _call_off(row, "the portfolio shall not run any more", now)
    if owner.epoch != row.epoch:
        return _conclude(row, owner, now)
    if row.target not in live:
        return _call_off(row, f"node {row.target} is offline", now)
    # Whoever asked for it may have another time of day than we: nobody is waited for twice as long as it may take.
    if row.source in live and now < row.deadline < now + 2 * (row.deadline - row.started_at):
        return False
    why = f"{row.source} did not hand it over in time" if row.source in live else f"{row.source} is offline"
    given = give(owner, row.target, f"{row.reason}; {why}")
    if given is None:
        return False
    log.warning("Portfolio %s: %s, so its epoch was taken", row.portfolio_id, why)
    commands.cancel(row.command_id, why, now)
    return _conclude(row, given, now)


def _conclude(row: PlannedMove, owner: Ownership, now: datetime) -> bool:
    """The epoch has moved on. Only one process deletes the row, so only one tells the target."""
    if not _delete(row):
        return False
    if owner.node_id == row.target:
        log.info("Portfolio %s migrated successfully", row.portfolio_id)
        log.info("Migration completed in %.1fs", (now - row.started_at).total_seconds())
        commands.send(commands.MIGRATE_IN, row.portfolio_id, row.target, owner.epoch, {"source": row.source})
    return True


def _call_off(row: PlannedMove, reason: str, now: datetime) -> bool:
    if not _delete(row):
        return False
    log.info("The move of Portfolio %s to %s is called off: %s", row.portfolio_id, row.target, reason)
    commands.cancel(row.command_id, reason, now)
    return True


def _delete(row: PlannedMove) -> bool:
    deleted, _ = PlannedMove.objects.filter(portfolio_id=row.portfolio_id, epoch=row.epoch).delete()
    return bool(deleted)
