"""What a portfolio is and has, as readers see it: MySQL's row, Redis' live figures, the last checkpoint's books.

A node is never asked. Live figures come from Redis unless the checkpoint is newer or Redis is away.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import redis
from django.contrib.auth.models import User
from django.db.models import F, QuerySet

from portfolios import livestate
from portfolios.errors import NotFound
from portfolios.kernel import state as snapshots
from portfolios.kernel.money import to_decimal
from portfolios.models import Checkpoint, Portfolio

log = logging.getLogger(__name__)


def get_status(portfolio_id: str) -> dict[str, Any]:
    """id, name, status, status_reason, desired_state, market, account (its name), account_kind (paper or live), broker,
    currency, node_id, epoch, cash, total_value, position_count, version (of the config), running_version (what its
    node last reported), updated_at. Raises NotFound."""
    found = _statuses(Portfolio.objects.filter(id=portfolio_id))
    if not found:
        raise NotFound(f"there is no portfolio {portfolio_id!r}: see 'ginkgo portfolio list'")
    return found[0]


def list_portfolios(owner: User | None = None) -> list[dict[str, Any]]:
    """`get_status` of all portfolios (of `owner`), by name."""
    chosen = Portfolio.objects.all() if owner is None else Portfolio.objects.filter(owner_id=owner.pk)
    return _statuses(chosen)


def get_positions(portfolio_id: str) -> list[dict[str, Any]]:
    """code, volume, available (to sell now), cost_price (fees included), last_price, profit (unrealised), by code.

    As of the last checkpoint. Raises NotFound.
    """
    checkpoint = Checkpoint.objects.filter(portfolio_id=portfolio_id).only("state").first()
    if checkpoint is None:
        raise NotFound(f"there is no portfolio {portfolio_id!r}: see 'ginkgo portfolio list'")
    return positions_in(bytes(checkpoint.state))


def positions_in(state: bytes) -> list[dict[str, Any]]:
    """Those of a checkpoint's state, as `get_positions` gives them; none where it is empty."""
    if not state:
        return []
    return [
        {
            "code": position.code,
            "volume": position.volume,
            "available": position.available,
            "cost_price": to_decimal(position.average_cost),
            "last_price": to_decimal(position.last_price),
            "profit": to_decimal(position.unrealised),
        }
        for _, position in sorted(snapshots.decode(state).ledger.positions.items())
    ]


def joined(chosen: QuerySet[Portfolio]) -> QuerySet[Portfolio]:
    """`chosen` with all that `figures_of` and `status_of` read of them, in one query."""
    return chosen.select_related("assignment", "account").annotate(saved_at=F("checkpoint__saved_at"))


def figures_of(portfolios: Sequence[Portfolio]) -> dict[str, dict[str, Any]]:
    """cash, total_value, position_count, running_version, updated_at of each that ever ran, by id.

    Takes what `joined` gave; asks Redis once, and MySQL at most once.
    """
    ids = [portfolio.id for portfolio in portfolios]
    live = _live(ids)
    saved: dict[str, datetime | None] = {portfolio.id: portfolio.saved_at for portfolio in portfolios}  # type: ignore[attr-defined]
    outdated = [i for i in ids if not _is_current(live.get(i, {}), saved[i])]
    figures = {i: found for i in ids if i not in set(outdated) and (found := _live_figures(live[i])) is not None}
    return figures | (_saved_figures(outdated) if outdated else {})


def _statuses(chosen: QuerySet[Portfolio]) -> list[dict[str, Any]]:
    portfolios = list(joined(chosen))
    figures = figures_of(portfolios)
    return [status_of(portfolio, figures.get(portfolio.id)) for portfolio in portfolios]


def status_of(portfolio: Portfolio, figures: dict[str, Any] | None) -> dict[str, Any]:
    """The document of `get_status`; without figures it has what it was created with."""
    figures = figures or {
        "cash": portfolio.initial_cash,
        "total_value": portfolio.initial_cash,
        "position_count": 0,
        "running_version": None,
        "updated_at": portfolio.updated_at,
    }
    return {
        "id": portfolio.id,
        "name": portfolio.name,
        "status": portfolio.status,
        "status_reason": portfolio.status_reason,
        "desired_state": portfolio.desired_state,
        "market": portfolio.market,
        "account": portfolio.account.name,
        "account_kind": portfolio.account.kind,
        "broker": portfolio.account.broker,
        "currency": portfolio.account.currency,
        "node_id": portfolio.assignment.node_id,
        "epoch": portfolio.assignment.epoch,
        "version": portfolio.version,
        **figures,
    }


def _live(ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The live hashes; nothing at all when Redis is away."""
    if not ids:
        return {}
    try:
        pipe = livestate.client(timeout=1.0).pipeline(transaction=False)
        for portfolio_id in ids:
            pipe.hgetall(livestate.state_key(portfolio_id))
        return dict(zip(ids, pipe.execute(), strict=True))
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.info("Portfolios are shown as of their last checkpoint, because Redis is away: %s", error)
        return {}


def _is_current(live: dict[str, str], saved_at: datetime | None) -> bool:
    figures = _live_figures(live)
    return figures is not None and (saved_at is None or figures["updated_at"] >= saved_at)


def _live_figures(live: dict[str, str]) -> dict[str, Any] | None:
    try:
        return {
            "cash": Decimal(live["cash"]),
            "total_value": Decimal(live["total_value"]),
            "position_count": int(live["position_count"]),
            "running_version": int(live["version"]) if live.get("version") else None,
            "updated_at": _aware(datetime.fromisoformat(live["updated_at"])),
        }
    except (KeyError, ValueError, InvalidOperation):
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _saved_figures(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    figures = {}
    for checkpoint in Checkpoint.objects.filter(portfolio_id__in=ids).exclude(state=b""):
        try:
            ledger = snapshots.decode(bytes(checkpoint.state)).ledger
        except msgspec.MsgspecError as error:
            log.error("The checkpoint of portfolio %s cannot be read: %s", checkpoint.portfolio_id, error)
            continue
        figures[checkpoint.portfolio_id] = {
            "cash": to_decimal(ledger.cash),
            "total_value": to_decimal(ledger.total_value),
            "position_count": len(ledger.positions),
            "running_version": checkpoint.config_version,
            "updated_at": checkpoint.saved_at,
        }
    return figures
