"""Follows the trend: buys when a short moving average crosses above a long one, sells when it crosses below."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

_UP = Signal(BUY, "the short average crossed above the long one")
_DOWN = Signal(SELL, "the short average crossed below the long one")


class TrendFollowStrategy(Strategy):
    """Crossing of two simple moving averages of the price. The first full long window sets which one is above;
    each later change signals. A tie changes nothing."""

    class Params(msgspec.Struct, frozen=True):
        short_period: Annotated[int, param("Prices in the short average", unit="bars", ge=1, le=5000)] = 5
        long_period: Annotated[int, param("Prices in the long average", unit="bars", ge=2, le=5000)] = 20

        def check(self) -> list[tuple[str, str]]:
            if self.short_period >= self.long_period:
                fault = f"must be smaller than long_period ({self.long_period}), got {self.short_period}"
                return [("short_period", fault)]
            return []

    class Memory(msgspec.Struct, array_like=True, gc=False):
        """`window` is a ring of the last `long_period` prices in units, so sums are exact and never drift."""

        window: list[int]
        count: int = 0
        short_sum: int = 0
        long_sum: int = 0
        above: int = 0

    params: Params

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._short: int = params.short_period
        self._long: int = params.long_period

    @property
    def warmup_bars(self) -> int:
        return self._long

    def start(self) -> Memory:
        return self.Memory([0] * self._long)

    def on_price(self, memory: Memory, tick: PriceUpdate) -> Signal | None:
        price = int(tick.price * 10_000 + 0.5)
        count = memory.count
        short = self._short
        long = self._long
        window = memory.window
        at = count % long
        memory.long_sum = long_sum = memory.long_sum + price - window[at]
        window[at] = price
        # A negative index wraps around the ring by itself.
        memory.short_sum = short_sum = memory.short_sum + price - window[at - short]
        memory.count = count + 1
        if count + 1 < long:
            return None
        difference = short_sum * long - long_sum * short
        if difference > 0:
            if memory.above != 1:
                crossed = memory.above == -1
                memory.above = 1
                return _UP if crossed else None
        elif difference < 0 and memory.above != -1:
            crossed = memory.above == 1
            memory.above = -1
            return _DOWN if crossed else None
        return None
