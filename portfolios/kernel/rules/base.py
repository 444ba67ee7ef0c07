"""What the kernel and the simulated exchange ask of a market: sessions, lots, ticks, limits, fees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, tzinfo
from typing import NamedTuple, Protocol


class Fees(NamedTuple):
    """Fees of an order in units: the broker's commission, and what state and exchange take (`tax`)."""

    commission: int
    tax: int

    @property
    def total(self) -> int:
        return self.commission + self.tax


class Session(NamedTuple):
    """One trading session. A price with `start <= timestamp < end` belongs to it, so sessions tile all time;
    an order caused at or after `close` is good for the next one."""

    day: date
    ordinal: int
    start: datetime
    close: datetime
    end: datetime


class MarketRules(Protocol):
    """The rules of one market. Prices and money in units (0.0001 of `currency`), volumes in shares or contracts.

    `t_plus`: sessions that must pass before what was bought can be sold. `shorting`: whether a sale may open
    a position. `hours` of trading are in `zone`. Rules are values: every answer depends on the arguments alone.
    """

    @property
    def market(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def t_plus(self) -> int: ...
    @property
    def shorting(self) -> bool: ...
    @property
    def zone(self) -> tzinfo: ...
    @property
    def hours(self) -> Sequence[tuple[time, time]]: ...

    def session_at(self, timestamp: datetime) -> Session:
        """The session that a price of that moment belongs to."""

    def session_of(self, timestamp: datetime) -> date:
        """The day of `session_at`."""

    def session_on(self, day: date) -> Session:
        """The session of a trading day (of the next one, if the day is none)."""

    def order_session(self, timestamp: datetime) -> Session:
        """The session that an order caused at that moment is good for."""

    def multiplier(self, code: str) -> int:
        """Value of one price unit per volume unit: 1 for shares, the contract size for futures."""

    def margin_rate(self, code: str) -> int:
        """Margin in parts per million of the contract's value; 0 where positions are paid in full."""

    def tick_size(self, code: str, day: date, price: int = 0) -> int:
        """The price step in units, at a price in units."""

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        """The largest volume up to `volume` that may be ordered; `held` is what could be sold at most, so
        that an odd remainder can be sold whole."""

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        """(limit-down, limit-up) of that day, or None where prices are free."""

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        """All fees of an order of which `amount` (units) in `volume` has been filled so far, each to the cent.

        Fees of one partial fill are the difference of this before and after it, so minima count once an order.
        """
