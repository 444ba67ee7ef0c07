"""What a portfolio keeps of one code, laid out for the hot path: one slotted object per code, nothing made per tick."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.ledger import Position
from portfolios.kernel.money import UNIT
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.state import WatchState

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_PRICE = 1 / UNIT
_NO_LIMIT = float("inf")


class Watch:
    """One code of a portfolio. `low` and `high` bound credible prices of its session `day` (an ordinal); `position`
    is the ledger's own object while something is held, else None."""

    __slots__ = (
        "_plain", "_valued", "bar", "calm_high", "calm_low", "ceiling", "code", "cold", "day", "floor", "high", "low",
        "marked", "memory", "noted", "past", "position", "prev_close", "price", "raw", "retry", "signalled",
        "sizer_cold", "sizer_memory", "st", "traded", "until", "warmed",
    )  # fmt: skip

    def __init__(self, code: str, *, st: bool, traded: bool, plain: bool = False, valued: bool = True) -> None:
        """`plain`: a calm price interests nobody but the strategy; `valued`: risk rules hear of every change of a
        position's value."""
        self._plain = plain
        self._valued = valued
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
        self.calm_low, self.calm_high = _NO_LIMIT, -_NO_LIMIT
        """Prices strictly between them are credible and interest the strategy alone, until the session ends."""
        self.until = _LONG_AGO
        """The end of the session `day`, once the portfolio has entered it."""
        self.marked = False
        """Whether a position is held whose value stands at `price`; if one is held and this is not set, it is one of
        the watchlist's `unmarked`."""
        self.memory: Any = None
        self.sizer_memory: Any = None
        self.bar: BarBuilder | None = None
        self.cold = self.sizer_cold = False
        """Whether the strategy's or sizer's memory of it is empty; `warmed`: the last session it was warmed up with."""
        self.warmed = 0
        self.past = False
        """Whether it was never traded: all it knows of prices is what it was warmed up with."""
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
                self._settle()
                return
        self.low = _LEAST_PRICE
        self.high = _NO_LIMIT
        self._settle()

    def follow(self, position: Position | None, floor: int = 0, ceiling: int = 0) -> None:
        """What is held of it now (None: nothing), and the prices in units between which its risk rules are silent."""
        self.position = position
        self.marked = position is not None
        self.floor, self.ceiling = floor, ceiling
        self._settle()

    def _settle(self) -> None:
        """Limits, position or its bounds have changed: which prices are calm."""
        if not self._plain or (self.position is not None and self._valued):
            self.calm_low, self.calm_high = _NO_LIMIT, -_NO_LIMIT
            return
        self.calm_low, self.calm_high = self.low, self.high
        if self.position is not None:
            # A unit inside the bounds, so that no rounding of a price reaches them.
            self.calm_low = max(self.low, (self.floor + 1) / UNIT)
            self.calm_high = min(self.high, (self.ceiling - 1) / UNIT)

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
