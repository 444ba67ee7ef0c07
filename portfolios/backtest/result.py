"""What a backtest leaves behind: the orders, the fills, and one line a session."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from portfolios.kernel.exchange import Fill
from portfolios.kernel.orders import Cancel, Order


class Traded(NamedTuple):
    """A fill, the day of the session in which it traded, and the close that its price limits followed from (units,
    None: not known)."""

    fill: Fill
    day: date
    prev_close: int | None


class Refusal(NamedTuple):
    """An order that the gate did not let through, and why."""

    order: Order
    reason: str


@dataclass(slots=True)
class Result:
    """Money in units of 0.0001 of `currency`. `days`, `equity` and each list of `closes` have one entry a session:
    the trading day, the total value at its end, the last price of a code by then (0.0 before the first).

    `bars` counts the prices from the start date on, `warmup` those before it. `open_orders` wait for a price still.
    """

    portfolio_id: str
    currency: str
    initial_cash: int
    bars: int = 0
    warmup: int = 0
    first: datetime | None = None
    last: datetime | None = None
    days: list[date] = field(default_factory=list)
    equity: list[int] = field(default_factory=list)
    closes: dict[str, array[float]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    fills: list[Traded] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    expired: int = 0
    open_orders: int = 0
    cash: int = 0
    fees: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    """Volume still held, by code."""
    elapsed: float = 0.0
    """Seconds, measured by whoever ran it; the engine reads no clock."""

    @property
    def final_value(self) -> int:
        return self.equity[-1] if self.equity else self.initial_cash
