"""The portfolio routes' documents, each list and each portfolio in at most two queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.request import Request

from portfolios import reading
from portfolios.api.kit.errors import NOT_FOUND, ApiError
from portfolios.api.kit.rights import visible
from portfolios.models import Portfolio


def one(request: Request, portfolio_id: str) -> Portfolio:
    """The portfolio, if the caller may know of it. Raises ApiError (404)."""
    found = reading.joined(visible(request.user).select_related("owner")).filter(id=portfolio_id).first()
    if found is None:
        raise missing(portfolio_id)
    return found


def exists(request: Request, portfolio_id: str) -> None:
    """Raises ApiError (404) unless there is such a portfolio and the caller may know of it."""
    if not visible(request.user).filter(id=portfolio_id).exists():
        raise missing(portfolio_id)


def missing(portfolio_id: str) -> ApiError:
    return ApiError(NOT_FOUND, f"there is no portfolio {portfolio_id[:50]!r}, or it is somebody else's")


def rows(portfolios: Sequence[Portfolio]) -> list[dict[str, Any]]:
    figures = reading.figures_of(portfolios)
    return [_row(portfolio, figures.get(portfolio.id)) for portfolio in portfolios]


def whole(portfolio: Portfolio) -> dict[str, Any]:
    (row,) = rows([portfolio])
    return {**row, "config": portfolio.config}


def _row(portfolio: Portfolio, figures: Mapping[str, Any] | None) -> dict[str, Any]:
    state = reading.status_of(portfolio, dict(figures) if figures else None)
    return {
        **state,
        "owner": portfolio.owner.get_username(),
        "initial_cash": portfolio.initial_cash,
        "figures_at": figures["updated_at"] if figures else None,
        "created_at": portfolio.created_at,
        "updated_at": portfolio.updated_at,
    }
