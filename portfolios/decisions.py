"""What a portfolio decided of late, and why: its signals, exits, vetoes and the prices it refused (SPEC P5)."""

from __future__ import annotations

import json
import logging
from typing import Any

import redis

from portfolios import livestate
from portfolios.errors import PortfolioError
from portfolios.lookup import get

log = logging.getLogger(__name__)


class DecisionsUnknown(PortfolioError):
    """Redis, which keeps them, is away."""


def get_decisions(portfolio_id: str, limit: int = 20) -> list[dict[str, Any]]:
    """The newest `limit`, newest first: timestamp (the event's own), kind, code, direction, source, reason, volume,
    order_id. Raises NotFound, DecisionsUnknown."""
    get(portfolio_id)
    return newest(portfolio_id, limit)


def newest(portfolio_id: str, limit: int) -> list[dict[str, Any]]:
    """The same, of a portfolio that is known to be there."""
    if limit <= 0:
        return []
    try:
        rows: Any = livestate.client(timeout=1.0).lrange(livestate.decisions_key(portfolio_id), -limit, -1)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        raise DecisionsUnknown(f"what it decided is not known now, for Redis is away: {error}") from None
    return [decision for row in reversed(rows) if (decision := _read(row, portfolio_id)) is not None]


def _read(row: str, portfolio_id: str) -> dict[str, Any] | None:
    try:
        decision = json.loads(row)
    except ValueError:
        log.warning("A decision of portfolio %s cannot be read: %.80s", portfolio_id, row)
        return None
    return decision if isinstance(decision, dict) else None
