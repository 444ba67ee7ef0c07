"""Builds the bars that history keeps, out of ticks, with the kernel's own builder: what strategies see live.

A bar is complete, and a row, with a tick at its end or, if there is none, with the first one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TypeAlias

import msgspec

from market.history.rows import Row, Stand, micros
from market.messages import PriceUpdate
from market.topics import market_of
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.rules.base import MarketRules

PERIODS = ("1m", "5m", "15m", "1h", "1d")

_LATE = timedelta(hours=12) // timedelta(microseconds=1)
"""A tick that comes after the end of its bar has no bar any more; one much older is of a replay, told anew."""


class OpenBar(msgspec.Struct, array_like=True):
    """One period of one code: its builder, the first tick's time, the last one's place, and the last end (0: none)."""

    builder: BarBuilder
    begins: int = 0
    stand: Stand = Stand("", 0, 0, 0)
    over: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[OpenBar]).decode


Earlier: TypeAlias = Callable[[PriceUpdate, Stand], Iterable[PriceUpdate]]
"""What came before a code's first tick of all that a maker sees, in the same session."""


class BarMaker:
    """The bars that are being built, of all codes. `saved`: code → state, as `changed` gave it.

    `earlier` is asked once a code that is not in `saved`, so that a maker without a memory begins no bar in its middle.
    """

    def __init__(
        self,
        rules: Callable[[str], MarketRules],
        saved: Mapping[str, bytes],
        earlier: Earlier = lambda tick, stand: (),
    ) -> None:
        self._rules = rules
        self._open: dict[str, list[OpenBar]] = {code: _decode(state) for code, state in saved.items()}
        self._changed: set[str] = set()
        self._earlier = earlier

    def add(self, tick: PriceUpdate, stand: Stand) -> Iterator[Row]:
        """Takes a tick in; the rows of the bars that are complete with it."""
        if not tick.price > 0:
            return
        bars = self._open.get(tick.code)
        if bars is None:
            bars = self._open[tick.code] = [OpenBar(BarBuilder()) for _ in PERIODS]
            for before in self._earlier(tick, stand):
                for _ in self._take(bars, before, stand._replace(offset=stand.offset - 1)):
                    pass  # a row already
        self._changed.add(tick.code)
        yield from self._take(bars, tick, stand)

    def _take(self, bars: list[OpenBar], tick: PriceUpdate, stand: Stand) -> Iterator[Row]:
        at = micros(tick.timestamp)
        session = self._rules(market_of(tick.code)).session_at(tick.timestamp)
        for period, bar in zip(PERIODS, bars, strict=True):
            if bar.over - _LATE < at <= bar.over:
                continue
            if at <= bar.begins - _LATE:
                bar.builder, bar.over = BarBuilder(), 0  # a story that is told anew
            ends = bar.builder.ends
            done = bar.builder.add(tick, period, session)
            if ends is not None and tick.timestamp > ends:
                yield self._row(bar, done[0], period, micros(ends))
                ends = None
            if ends is None:
                bar.begins = at
            bar.stand = stand
            if bar.builder.ends is None:
                yield self._row(bar, done[-1], period, at)

    def changed(self) -> dict[str, bytes]:
        """code → state, of those that took a tick since the last call."""
        changed, self._changed = self._changed, set()
        return {code: _encode(self._open[code]) for code in changed}

    @staticmethod
    def _row(open_bar: OpenBar, bar: PriceUpdate, period: str, ends: int) -> Row:
        open_bar.over = ends
        return (
            bar.code,
            period,
            ends,
            open_bar.begins,
            micros(bar.timestamp),
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.prev_close,
            *open_bar.stand,
        )
