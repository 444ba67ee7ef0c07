"""Rides what has risen: buys after a strong rise over a number of prices, sells after it has gone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

_UP = Signal(BUY, "the price has risen enough")
_DOWN = Signal(SELL, "the rise is gone")


class MomentumStrategy(Strategy):
    """Buys when the price is `buy_above` percent over that of `period` prices ago, sells when it is less than
    `sell_below` percent over it. In between nothing changes; the first full window only sets which it is."""

    class Params(msgspec.Struct, frozen=True):
        period: Annotated[int, param("How far back the price is compared", unit="bars", ge=1, le=5000)] = 20
        buy_above: Annotated[float, param("Rise above which to buy", unit="%", gt=-100, le=1000)] = 5.0
        sell_below: Annotated[float, param("Rise below which to sell", unit="%", gt=-100, le=1000)] = 0.0

        def check(self) -> list[tuple[str, str]]:
            if self.sell_below >= self.buy_above:
                return [("sell_below", f"must be smaller than buy_above ({self.buy_above:g}), got {self.sell_below:g}")]
            return []

    class Memory(msgspec.Struct, array_like=True, gc=False):
        """A ring of prices in units; `side` is 1 after a rise, -1 without, 0 not known."""

        window: list[int]
        count: int = 0
        side: int = 0

    params: Params

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._period: int = params.period
        self._buy = 1 + params.buy_above / 100
        self._sell = 1 + params.sell_below / 100

    @property
    def warmup_bars(self) -> int:
        return self._period + 1

    def start(self) -> Memory:
        return self.Memory([0] * self._period)

    def on_price(self, memory: Memory, tick: PriceUpdate) -> Signal | None:
        price = int(tick.price * 10_000 + 0.5)
        window = memory.window
        count = memory.count
        at = count % self._period
        then = window[at]
        window[at] = price
        memory.count = count + 1
        if count < self._period:
            return None
        if price > then * self._buy:
            side = 1
        elif price < then * self._sell:
            side = -1
        else:
            return None
        before, memory.side = memory.side, side
        if side == before or before == 0:
            return None
        return _UP if side > 0 else _DOWN
