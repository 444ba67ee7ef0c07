"""History as a backtest's prices: `--data history` (ticks, as a live portfolio saw them) or `--data history:1d` (bars).

`settings.GINKGO_HISTORY` names `open_history`, so that `portfolios.backtest` need not know of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime

from market.history.reader import PERIODS, HistoryAway, Reader
from portfolios.backtest.errors import BacktestError
from portfolios.kernel.events import PriceUpdate


def open_history(data: str, codes: Sequence[str]) -> HistorySource:
    """`data` is `history` or `history:PERIOD`. BacktestError where there is nothing of that."""
    _, _, what = data.partition(":")
    if what not in ("", "tick", *PERIODS):
        bars = ", ".join(f"history:{period}" for period in PERIODS)
        raise BacktestError(f"{data}: history has ticks ('history') and bars ({bars})")
    return HistorySource(codes, None if what in ("", "tick") else what)


class HistorySource:
    """Ticks, or bars of a `period`, of the codes that are traded; streamed."""

    def __init__(self, codes: Sequence[str], period: str | None) -> None:
        """BacktestError if it is away, or has nothing of these codes."""
        self._codes = tuple(codes)
        self._period = period
        self._now: datetime | None = None
        try:
            with Reader() as reader:
                span = reader.span(self._codes, period)
        except HistoryAway as error:
            raise BacktestError(str(error)) from None
        if span.first is None or span.last is None:
            what = f"{period} bars" if period else "ticks"
            raise BacktestError(f"history has no {what} of {', '.join(self._codes)}")
        self._first, self._last = span.first, span.last

    @property
    def done(self) -> float:
        if self._now is None:
            return 0.0
        length = (self._last - self._first).total_seconds()
        return min((self._now - self._first).total_seconds() / length, 1.0) if length else 1.0

    def ticks(self) -> Iterator[PriceUpdate]:
        try:
            with Reader() as reader, closing(prices(reader, self._codes, self._period)) as found:
                for number, tick in enumerate(found):
                    if not number & 1023:
                        self._now = tick.timestamp
                    yield tick
        except HistoryAway as error:
            raise BacktestError(str(error)) from None


def prices(
    reader: Reader,
    codes: Sequence[str],
    period: str | None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Generator[PriceUpdate, None, None]:
    """Ticks, or bars as one price each, in the order of their time."""
    if period is None:
        yield from reader.ticks(codes, start, end)
    else:
        for bar in reader.bars(codes, start, end, period):
            yield bar.tick()
