"""Sums over fills and the ledger's adjustments, added up by the database, to the unit of 0.0001."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import BigIntegerField, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Cast, Round

from market.models import BrokerFill, Fill
from market.reconciliation import Adjusted, Trade
from portfolios.kernel.money import UNIT, to_units
from portfolios.kernel.rules import MarketRules, rules_for
from portfolios.models import LedgerEntry
from portfolios.models.adjustment import AdjustmentKind

NEWEST_ADJUSTMENT = Subquery(
    LedgerEntry.objects.filter(portfolio_id=OuterRef("portfolio_id"), adjustment__isnull=False)
    .order_by("-id")
    .values("id")[:1]
)
"""Of rows that have a `portfolio_id`: the id of its newest ledger entry that is no fill."""


def _units(column: str) -> Sum:
    # Whole units before they are added: SQLite keeps decimals as floats.
    return Sum(Cast(Round(F(column) * UNIT), BigIntegerField()))


def _summed(rows: QuerySet[Any], *by: str) -> dict[str, list[Trade]]:
    """By portfolio, which comes first of `by`."""
    columns = {f"{name}_sum": _units(name) for name in ("amount", "commission", "tax")}
    found: dict[str, list[Trade]] = defaultdict(list)
    for id_, code, direction, volume, amount, commission, tax in (
        rows.order_by().values_list(*by).annotate(volume_sum=Sum("volume"), **columns)
    ):
        found[id_].append(Trade(code, direction, int(volume), int(amount), int(commission) + int(tax)))
    return found


def trades(chosen: Q) -> dict[str, list[Trade]]:
    """The engine's fills, by portfolio, summed by code and direction."""
    return _summed(Fill.objects.filter(chosen), "portfolio_id", "code", "direction")


def executions(portfolio_ids: Sequence[str]) -> dict[str, list[Trade]]:
    """The simulated exchange's own, likewise."""
    rows = BrokerFill.objects.filter(order__portfolio_id__in=list(portfolio_ids))
    return _summed(rows, "order__portfolio_id", "order__code", "order__direction")


def adjusted(
    portfolio_ids: Sequence[str], counts: Callable[[str, int], bool] = lambda _portfolio_id, _entry_id: True
) -> dict[str, list[Adjusted]]:
    """The ledger's entries that are no fills, by portfolio; of those the ones that count."""
    rows = LedgerEntry.objects.filter(portfolio_id__in=list(portfolio_ids), adjustment__isnull=False).order_by()
    columns = ("portfolio_id", "id", "cash_change", "code", "direction", "volume", "price")
    found: dict[str, list[Adjusted]] = defaultdict(list)
    for id_, entry, cash, code, direction, volume, price in rows.values_list(*columns):
        if counts(id_, entry):
            found[id_].append(Adjusted(to_units(cash), code, direction * volume, to_units(price)))
    return found


def imported_on_margin(markets: dict[str, str]) -> set[str]:
    """Of portfolios (id to market) those whose contracts came with an imported state: their value at entry is in no
    ledger, so their cash has no other side."""
    ids = [id_ for id_, market in markets.items() if rules_of(market).shorting]
    if not ids:
        return set()
    rows = LedgerEntry.objects.filter(portfolio_id__in=ids, kind=AdjustmentKind.IMPORT).order_by()
    return set(rows.values_list("portfolio_id", flat=True))


def on_margin(market: str) -> Callable[[str], int]:
    """The contract's size of a code that is held on margin, 0 of one that is paid in full."""
    rules = rules_of(market)
    return lambda code: rules.multiplier(code) if rules.margin_rate(code) else 0


@functools.cache
def rules_of(market: str) -> MarketRules:
    """Without the trading days: nothing that is asked of them here depends on those."""
    return rules_for(market)
