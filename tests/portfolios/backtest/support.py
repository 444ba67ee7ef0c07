"""What the tests of the backtest share: a configuration, a portfolio, prices of days and minutes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from portfolios.backtest.engine import Backtest
from portfolios.backtest.result import Result, Traded
from portfolios.kernel.config import parse
from portfolios.kernel.exchange import Fill
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import MarketRules, rules_for

PORTFOLIO_ID = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e11"


def document(
    strategy: str = "TrendFollowStrategy",
    params: dict[str, Any] | None = None,
    *,
    codes: Sequence[str] = ("600519.SH",),
    risks: dict[str, dict[str, Any]] | None = None,
    amount: int = 100_000,
    policy: dict[str, Any] | None = None,
) -> dict[str, Any]:
    if params is None:
        params = {"short_period": 2, "long_period": 3}
    return {
        "strategy": {"name": strategy, "params": params},
        "risk_managements": [{"name": name, "params": given} for name, given in (risks or {}).items()],
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": amount}},
        "codes": list(codes),
        "policy": policy or {},
    }


def backtest(
    config: dict[str, Any], *, cash: int = 1_000_000, rules: MarketRules | None = None, **more: Any
) -> Backtest:
    return Backtest(Portfolio(PORTFOLIO_ID, parse(config), rules or rules_for("cn"), to_units(cash)), **more)


def traded(day: str, direction: int, volume: int, price: float, fees: float = 0, code: str = "600519.SH") -> Traded:
    """A fill of `volume` at `price`, on `day`."""
    amount = to_units(price) * volume
    at = datetime.fromisoformat(day).replace(hour=7, tzinfo=UTC)
    fill = Fill(
        fill_id=f"{day}-{code}-{direction}",
        order_id=f"order-{day}",
        code=code,
        direction=direction,
        price=to_units(price),
        volume=volume,
        amount=amount,
        commission=to_units(fees),
        tax=0,
        timestamp=at,
        remaining=0,
    )
    return Traded(fill, date.fromisoformat(day), None)


def result(initial: int, equity: Sequence[float], fills: Sequence[Traded] = (), first: str = "2024-01-01") -> Result:
    """One with these values (in currency) on consecutive days."""
    begin = date.fromisoformat(first).toordinal()
    made = Result(PORTFOLIO_ID, "CNY", to_units(initial))
    made.days = [date.fromordinal(begin + number) for number in range(len(equity))]
    made.equity = [to_units(value) for value in equity]
    made.fills = list(fills)
    made.fees = sum(each.fill.commission + each.fill.tax for each in fills)
    return made
