"""The four books of a portfolio, each added up on its own: they agree to the unit, or the drill has failed.

Its own state, the ledger, the engine's fills, and what the exchange itself says it has executed (SPEC M6).
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from market import reconciliation_sums as sums
from market.models import BrokerFill, Fill
from market.reconciliation import Holding, Kind, compare, implied
from portfolios import checkpoints
from portfolios.kernel import state as saved
from portfolios.kernel.money import to_units
from portfolios.models import LedgerEntry


def differences(portfolio_id: str) -> list[str]:
    """Each in a sentence; nothing where all agree. For a portfolio with no order under way and no adjustment."""
    loaded = checkpoints.load(portfolio_id)
    if loaded is None or not loaded.state:
        return [f"portfolio {portfolio_id} has no books of its own"]
    own = saved.decode(loaded.state).ledger
    initial = to_units(loaded.initial_cash)
    mine = Holding(own.cash, {code: each.volume for code, each in own.positions.items() if each.volume})
    others = {
        "the ledger": _ledger(portfolio_id, loaded.initial_cash),
        "the engine's fills": implied(initial, sums.trades(Q(portfolio_id=portfolio_id))[portfolio_id]),
        "the broker's book": implied(initial, sums.executions([portfolio_id])[portfolio_id]),
    }
    found = [
        f"portfolio {portfolio_id}: {'cash' if gap.kind is Kind.CASH else gap.code} is {gap.actual} by {book}, "
        f"{gap.expected} by its own books"
        for book, theirs in others.items()
        for gap in compare(mine, theirs)
    ]
    return found + _fills(portfolio_id)


def _ledger(portfolio_id: str, initial: Decimal) -> Holding:
    cash, positions = Decimal(initial), Counter[str]()
    for row in LedgerEntry.objects.filter(portfolio_id=portfolio_id):
        cash += row.cash_change
        if row.code:
            positions[row.code] += row.direction * row.volume
    return Holding(to_units(cash), {code: volume for code, volume in positions.items() if volume})


def _fills(portfolio_id: str) -> list[str]:
    """One by one: two that are wrong may add up to what is right."""
    engine = _one_by_one(Fill.objects.filter(portfolio_id=portfolio_id))
    broker = _one_by_one(BrokerFill.objects.filter(order__portfolio_id=portfolio_id))
    ledger = LedgerEntry.objects.filter(portfolio_id=portfolio_id, adjustment__isnull=True).count()
    found = []
    if engine != broker:
        found.append(f"portfolio {portfolio_id}: {len(engine ^ broker)} fills are not the same for engine and broker")
    if len(engine) != ledger:
        found.append(f"portfolio {portfolio_id}: {len(engine)} fills, but {ledger} entries in the ledger")
    return found


def _one_by_one(rows: QuerySet[Any]) -> set[tuple[Any, ...]]:
    columns = ("fill_id", "order_id", "volume", "price", "amount", "commission", "tax", "event_time")
    return set(rows.order_by().values_list(*columns))
