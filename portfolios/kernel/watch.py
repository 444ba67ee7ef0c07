"""What a portfolio keeps of one code, laid out for the hot path: one slotted object per code, nothing made per tick."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.ledger import Position
from portfolios.kernel.money import UNIT
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.state import WatchState

_LEAST_PRICE = 1 / UNIT
_NO_LIMIT = float("inf")


class Watch:
    """One code of a portfolio. `low` and `high` bound credible prices of its session `day` (an ordinal); `position`
    is the ledger's own object while something is held, else None."""

    __slots__ = (
        "bar", "ceiling", "code", "cold", "day", "floor", "high", "low", "memory", "noted", "position", "prev_close",
        "price", "raw", "retry", "signalled", "sizer_cold", "sizer_memory", "st", "traded", "warmed",
    )  # fmt: skip

    def __init__(self, code: str, *, st: bool, traded: bool) -> None:
        self.code = code
        self.st = st
        self.traded = traded
        """Whether the strategy hears of it; a code no longer configured is only watched while held."""
        self.day = 0
        self.price = 0.0
        self.raw = 0.0
        self.prev_close: float | None = None
        self.low = _LEAST_PRICE
        self.high = _NO_LIMIT
        self.position: Position | None = None
        self.floor = self.ceiling = 0
        """While a position is held: prices in units at or beyond which its risk rules are to be asked."""
        self.memory: Any = None
        self.sizer_memory: Any = None
        self.bar: BarBuilder | None = None
        self.cold = self.sizer_cold = False
        """Whether the strategy's or sizer's memory of it is empty; `warmed`: the last session it was warmed up with."""
        self.warmed = 0
        self.signalled: datetime | None = None
        self.retry: datetime | None = None
        self.noted: tuple[str, str] | None = None
        """The last thing written down about it, so that a standing state is not repeated at every tick."""

    def open_session(self, session: Session, tick: PriceUpdate, rules: MarketRules) -> None:
        """The first tick of a session: the previous one's last price is what limits follow from, unless it is told.

        A refused price counts too: after a split without `prev_close` the new level is believed a session later.
        """
        prev_close = tick.prev_close
        if prev_close is None and self.day:
            prev_close = self.raw or self.price or None
        self.day = session.ordinal
        self.limit(prev_close, session, rules)

    def limit(self, prev_close: float | None, session: Session, rules: MarketRules) -> None:
        self.prev_close = prev_close
        if prev_close is not None and prev_close > 0:
            limits = rules.limits(self.code, int(prev_close * UNIT + 0.5), session.day, self.st)
            if limits is not None:
                self.low = limits[0] / UNIT
                self.high = limits[1] / UNIT
                return
        self.low = _LEAST_PRICE
        self.high = _NO_LIMIT

    def row(self) -> tuple[Any, ...]:
        """What a snapshot keeps of it: the fields of `state.WatchState`, in their order."""
        return (
            self.code, self.day, self.price, self.raw, self.prev_close, self.signalled, self.retry,
            self.memory, self.sizer_memory, self.bar,
        )  # fmt: skip

    def resume(self, row: WatchState, rules: MarketRules) -> None:
        """Takes over a row, but for what belongs to components."""
        self.day, self.price, self.raw = row.day, row.price, row.raw
        self.signalled, self.retry = row.signalled, row.retry
        if row.day:
            self.limit(row.prev_close, rules.session_on(date.fromordinal(row.day)), rules)
