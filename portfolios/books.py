"""A portfolio's books outside a node: the kernel restored from a checkpoint that is nobody's, and adjustments of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from portfolios.checkpoints import Loaded, Save, parked
from portfolios.errors import Conflict, Refused
from portfolios.kernel.config import parse
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import rules_for
from portfolios.models import Adjustment, LedgerEntry

LARGEST = 5 * 10**14
"""Currency that a portfolio may come to by adjustments: in units it must fit 64 bits."""

_BEGINNING = datetime(1971, 1, 1, tzinfo=UTC)


def restored(loaded: Loaded) -> Portfolio:
    """The portfolio as its last owner left it, under the configuration it ran with; a new one with its initial cash.

    Raises Conflict when it cannot be made, for its components are anybody's code.
    """
    # Without the trading days: nothing that a snapshot holds depends on them.
    rules = rules_for(loaded.market)
    try:
        config = parse(loaded.checkpoint_config or loaded.config, loaded.market)
        if not loaded.state:
            portfolio = Portfolio(loaded.portfolio_id, config, rules, to_units(loaded.initial_cash))
            portfolio.incarnation = loaded.incarnation
            return portfolio
        return Portfolio.restore(loaded.state, loaded.portfolio_id, config, rules)
    except Exception as error:
        raise Conflict(f"its books cannot be opened: {type(error).__name__}: {error}") from error


def save_of(loaded: Loaded, portfolio: Portfolio, ledger: tuple[LedgerEntry, ...]) -> Save:
    """The checkpoint as it was, but for the state and the entries that explain the difference."""
    version = loaded.checkpoint_version if loaded.state else loaded.version
    return replace(parked(loaded, ()), state=portfolio.snapshot(), config_version=version, ledger=ledger)


def book(portfolio: Portfolio, asked: Adjustment) -> LedgerEntry:
    """Apply an adjustment; the ledger entry for the checkpoint that will contain it.

    Raises Refused where the books do not allow it, and nothing is changed.
    """
    before = portfolio.cash
    price = 0
    try:
        if asked.code:
            price = _price(portfolio, asked)
            portfolio.adjust_position(asked.code, asked.volume, price)
        else:
            _bounded(portfolio, Decimal(asked.amount))
            portfolio.adjust_cash(to_units(asked.amount))
    except ValueError as error:
        raise Refused(str(error)) from None
    return LedgerEntry(
        portfolio_id=asked.portfolio_id,
        kind=asked.kind,
        adjustment_id=asked.pk,
        code=asked.code,
        direction=(asked.volume > 0) - (asked.volume < 0),
        volume=abs(asked.volume),
        price=to_decimal(price),
        cash_change=to_decimal(portfolio.cash - before),
        # Its own time, which in a replay is not ours.
        event_time=portfolio.now if portfolio.now > _BEGINNING else asked.requested_at,
    )


def _price(portfolio: Portfolio, asked: Adjustment) -> int:
    """At how many units: as it was asked, or, for less of what is held, at its average cost."""
    held = portfolio.positions.get(asked.code)
    volume = held.volume if held is not None else 0
    if not portfolio.rules.shorting and volume + asked.volume < 0:
        raise Refused(f"only {volume} of {asked.code} are held: {-asked.volume} cannot be taken away")
    if asked.price is not None:
        price = to_units(asked.price)
    elif held is not None and held.volume * asked.volume < 0:
        price = abs(held.average_cost)
    else:
        raise Refused(f"at what price? there is no cost of {asked.code} to go by")
    _bounded(portfolio, to_decimal(abs(asked.volume) * price * portfolio.rules.multiplier(asked.code)))
    return max(price, 1)


def _bounded(portfolio: Portfolio, more: Decimal) -> None:
    if to_decimal(abs(portfolio.total_value) + abs(portfolio.initial_cash)) + more > LARGEST:
        raise Refused(f"a portfolio cannot come to more than {LARGEST:,} {portfolio.rules.currency}")
