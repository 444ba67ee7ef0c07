"""Builds bars out of prices, for strategies whose periods count bars (`policy.bar`)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules.base import Session

SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}


class BarBuilder(msgspec.Struct, array_like=True):
    """The bar of one code that is being built. A bar (a, b] holds the prices after a, up to and with b, and ends at b:
    by a price at b or, if there is none, by the first one after it. A daily bar ends with the session's close.

    Bars of an hour or less are aligned to UTC, which is the local alignment wherever the offset is whole hours.
    """

    ends: datetime | None = None
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: int | None = None
    prev_close: float | None = None
    at: datetime | None = None
    day: int = 0
    """Ordinal of the session whose bars are being delivered."""

    def add(self, tick: PriceUpdate, bar: str, session: Session) -> list[PriceUpdate]:
        """Takes a price in; the bars that ended with it, oldest first (none, one or two)."""
        done: list[PriceUpdate] = []
        timestamp = tick.timestamp
        if self.ends is not None and timestamp > self.ends:
            done.append(self._finish(tick.code))
        if self.ends is None:
            self._begin(tick, _end(timestamp, bar, session))
        else:
            self.high = max(self.high, tick.price)
            self.low = min(self.low, tick.price)
            if tick.volume is not None:
                self.volume = (self.volume or 0) + tick.volume
        self.close = tick.price
        self.at = timestamp
        if timestamp == self.ends:
            done.append(self._finish(tick.code))
        return done

    def _begin(self, tick: PriceUpdate, ends: datetime) -> None:
        self.ends = ends
        # A feed of closes may carry the range of its own bar: it counts.
        self.open = tick.price
        self.high = self.low = tick.price
        self.volume = tick.volume
        self.prev_close = tick.prev_close

    def _finish(self, code: str) -> PriceUpdate:
        assert self.ends is not None
        bar = PriceUpdate(
            code=code,
            timestamp=self.at or self.ends,
            price=self.close,
            prev_close=self.prev_close,
            volume=self.volume,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
        )
        self.ends = None
        return bar


def _end(timestamp: datetime, bar: str, session: Session) -> datetime:
    if bar == "1d":
        return session.close if timestamp <= session.close else session.end
    step = SECONDS[bar]
    epoch = timestamp.timestamp()
    ends = -(-epoch // step) * step
    return datetime.fromtimestamp(ends, timestamp.tzinfo)
