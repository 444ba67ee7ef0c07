"""Takes a portfolio away for good: only one that nobody runs and that never traded, for books are kept."""

from __future__ import annotations

import logging

import redis
from django.db import transaction
from django.db.models import ProtectedError

from portfolios import livestate
from portfolios.errors import Conflict
from portfolios.lookup import locked
from portfolios.models import Assignment
from portfolios.models.portfolio import DesiredState

log = logging.getLogger(__name__)


def remove(portfolio_id: str) -> None:
    """Raises NotFound, and Conflict for one that is to run, has a node, or has ever traded or been paid into."""
    with transaction.atomic():
        portfolio = locked(portfolio_id)
        assignment = Assignment.objects.select_for_update().get(portfolio=portfolio)
        if portfolio.desired_state != DesiredState.STOPPED or assignment.node_id:
            raise Conflict(f"portfolio {portfolio.name!r} is not stopped: stop it first")
        if portfolio.ledger.exists() or portfolio.adjustments.exists():
            raise Conflict(f"portfolio {portfolio.name!r} has books, and books are kept: it can stay stopped")
        try:
            portfolio.delete()
        except ProtectedError:
            raise Conflict(
                f"portfolio {portfolio.name!r} has had orders, and they are kept: it can stay stopped"
            ) from None
        transaction.on_commit(lambda: _forget(portfolio_id))


def _forget(portfolio_id: str) -> None:
    try:
        livestate.client().delete(livestate.state_key(portfolio_id), livestate.status_key(portfolio_id))
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.warning("What Redis shows of portfolio %s stays, because it is away: %s", portfolio_id, error)
