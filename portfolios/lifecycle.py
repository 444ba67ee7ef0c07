"""A portfolio's lifecycle: the one table of allowed transitions, each written to MySQL and Redis (SPEC P3)."""

from __future__ import annotations

import logging

import redis
from django.db.models import Exists, OuterRef

from portfolios import livestate
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import Status

log = logging.getLogger(__name__)

ALLOWED: dict[Status, frozenset[Status]] = {
    Status.CREATED: frozenset({Status.RUNNING, Status.ERROR}),
    Status.RUNNING: frozenset({Status.STOPPING, Status.ERROR}),
    Status.STOPPING: frozenset({Status.STOPPED, Status.ERROR}),
    Status.STOPPED: frozenset({Status.RELOADING, Status.RUNNING, Status.ERROR}),
    Status.RELOADING: frozenset({Status.RUNNING, Status.ERROR}),
    Status.ERROR: frozenset({Status.RUNNING, Status.ERROR}),
}


def allowed(source: str, target: str) -> bool:
    """Whether the lifecycle has this step. Staying where one is needs no step, so it is allowed."""
    return source == target or Status(target) in ALLOWED[Status(source)]


def enter(
    portfolio_id: str,
    target: Status,
    reason: str = "",
    taking_over: bool = False,
    epoch: int | None = None,
    tell: bool = True,
) -> bool:
    """Move a portfolio's status to `target`; False (and a log line) if its lifecycle does not allow that.

    `taking_over`: a successor finds the status its dead predecessor left behind, whatever it was; it says where it is.
    `epoch`: only while this is the epoch of its owner: one that has lost it has no say in how it is.
    `tell`: False inside a transaction; whoever commits it publishes then.
    MySQL decides, by a conditional UPDATE; Redis is told after it, and its being away is a log line, not a failure.
    """
    sources = [s for s in Status if taking_over or allowed(s, target)]
    rows = Portfolio.objects.filter(id=portfolio_id, status__in=sources)
    if epoch is not None:
        rows = rows.filter(Exists(Assignment.objects.filter(portfolio_id=OuterRef("pk"), epoch=epoch)))
    changed = rows.update(status=target, status_reason=reason[:500])
    if not changed:
        log.warning("Portfolio %s: no transition to %s from where it is", portfolio_id, target)
        return False
    if tell:
        publish(portfolio_id, target)
    return True


def publish(portfolio_id: str, status: str) -> None:
    try:
        livestate.client().set(livestate.status_key(portfolio_id), status)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.warning("Portfolio %s is %s, but Redis was not told: %s", portfolio_id, status, error)
