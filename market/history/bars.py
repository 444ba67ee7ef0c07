"""Builds the bars that history keeps, out of ticks, with the kernel's own builder: what strategies see live.

A bar is complete, and a row, with a tick at its end or, if there is none, with the first one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

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


class BarMaker:
    """The bars that are being built, of all codes. `saved`: code → state, as `changed` gave it."""

    def __init__(self, rules: Callable[[str], MarketRules], saved: Mapping[str, bytes]) -> None:
        self._rules = rules
        self._open: dict[str, list[OpenBar]] = {code: _decode(state) for code, state in saved.items()}
        self._changed: set[str] = set()

    def add(self, tick: PriceUpdate, stand: Stand) -> Iterator[Row]:
        """Takes a tick in; the rows of the bars that are complete with it."""
        if not tick.price > 0:
            return
        at = micros(tick.timestamp)
        bars = self._open.get(tick.code)
        if bars is None:
            bars = self._open[tick.code] = [OpenBar(BarBuilder()) for _ in PERIODS]
        self._changed.add(tick.code)
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
