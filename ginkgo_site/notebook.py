"""For notebooks: the platform from Python, with orders, fills, equity and backtests as pandas tables.

`connect()` first; whatever else is imported from the platform comes after it. In the tables money is a float and every
moment is UTC; exact amounts (Decimal) are what `portfolios.services` gives. Tables of what is empty have their columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from portfolios.backtest.result import Result

__all__ = ["backtest", "connect", "equity", "equity_of", "fills", "fills_of", "orders", "positions"]

POSITION_COLUMNS = ("code", "volume", "available", "cost_price", "last_price", "profit")
ORDER_COLUMNS = (
    "event_time", "order_id", "code", "direction", "order_type", "volume", "filled_volume", "price", "state", "reason",
    "cause",
)  # fmt: skip
FILL_COLUMNS = (
    "event_time", "fill_id", "order_id", "code", "direction", "volume", "price", "amount", "commission", "tax",
)  # fmt: skip
_UNIT = 10_000


def connect(home: str | None = None) -> None:
    """Make the platform of this machine (or of another `home`) importable; repeated, it does nothing.

    Raises ginkgo_site.config.ConfigurationError if the configuration is wrong.
    """
    import django

    if home is not None:
        os.environ["GINKGO_HOME"] = home
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    # A notebook's cells run inside an event loop, where Django else refuses to ask a database.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    django.setup()


def positions(portfolio_id: str) -> DataFrame:
    """What it holds, by code, as of its last checkpoint. Raises portfolios.errors.NotFound."""
    from portfolios import services

    return _table(services.get_positions(portfolio_id), POSITION_COLUMNS)


def orders(portfolio_id: str, since: datetime | None = None) -> DataFrame:
    """Its orders as the engine has them, in the order of their time; `price` is NaN for a market order."""
    from market.models import Order

    chosen = Order.objects.filter(portfolio_id=portfolio_id).order_by("event_time", "order_id")
    chosen = chosen if since is None else chosen.filter(event_time__gte=since)
    return _table(chosen.values(*ORDER_COLUMNS), ORDER_COLUMNS)


def fills(portfolio_id: str, since: datetime | None = None) -> DataFrame:
    """Its fills, in the order of their time. `direction`: 1 bought, -1 sold; `tax`: stamp duty and transfer fee."""
    from market.models import Fill

    chosen = Fill.objects.filter(portfolio_id=portfolio_id).order_by("event_time", "id")
    chosen = chosen if since is None else chosen.filter(event_time__gte=since)
    return _table(chosen.values(*FILL_COLUMNS), FILL_COLUMNS)


def equity(portfolio_id: str, start: datetime | None = None, end: datetime | None = None) -> DataFrame:
    """What it was worth over the time of its events (start <= timestamp < end), from history.

    Raises market.history.reader.HistoryAway if there is no history yet, or its server does not answer.
    """
    from market.history.reader import EquityPoint, Reader

    with Reader() as history:
        rows = [point._asdict() for point in history.equity(portfolio_id, start, end)]
    return _table(rows, EquityPoint._fields).set_index("timestamp")


def backtest(
    config: Mapping[str, Any],
    *,
    initial_cash: Decimal | int = 1_000_000,
    data: str = "sample",
    start: date | None = None,
    end: date | None = None,
) -> Result:
    """Run a configuration over history, with the engine's own checks; `data` as `ginkgo backtest run --data` takes it.

    Raises portfolios.errors.InvalidConfig with every fault, portfolios.backtest.errors.BacktestError.
    """
    from django.conf import settings

    from portfolios.backtest.run import Setup, run_as_live

    return run_as_live(Setup(config, Decimal(initial_cash), data, start, end), settings.GINKGO.home)


def equity_of(result: Result) -> DataFrame:
    """A backtest's value at the end of each trading day, with the last price of each code by then."""
    import pandas

    days = pandas.DatetimeIndex(result.days, name="day")
    values = {"total_value": [value / _UNIT for value in result.equity]}
    return pandas.DataFrame({**values, **{code: list(prices) for code, prices in result.closes.items()}}, index=days)


def fills_of(result: Result) -> DataFrame:
    """A backtest's fills."""
    columns = ("day", "timestamp", "order_id", "code", "direction", "volume", "price", "amount", "commission", "tax")
    rows = (
        {"day": day, **{name: getattr(fill, name) for name in columns[1:6]}}
        | {name: getattr(fill, name) / _UNIT for name in columns[6:]}
        for fill, day, _prev_close in result.fills
    )
    return _table(rows, columns)


def _table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> DataFrame:
    import pandas

    plain = [{k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]
    return pandas.DataFrame(plain, columns=list(columns))
