"""The same risk for every buy: less of what moves more."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import PriceUpdate, Signal, Sizer, View, param


class ATRSizer(Sizer):
    """Buys so much that a move of `multiple` average true ranges costs `risk` percent of the total value. The average
    is the simple one over `period` bars; nothing is bought before it is full."""

    class Params(msgspec.Struct, frozen=True):
        risk: Annotated[float, param("Share of the total value to risk in one position", unit="%", gt=0, le=100)] = 1.0
        period: Annotated[int, param("True ranges in the average", unit="bars", ge=1, le=5000)] = 14
        multiple: Annotated[float, param("Average true ranges that the risk is counted for", gt=0, le=100)] = 2.0

    class Memory(msgspec.Struct, array_like=True, gc=False):
        """A ring of true ranges in units and their sum; `last` price in units, 0 before the first."""

        window: list[int]
        count: int = 0
        total: int = 0
        last: int = 0

    params: Params

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._period: int = params.period
        self._risk: int = round(params.risk * 10_000)
        self._multiple: int = round(params.multiple * 1_000)

    @property
    def warmup_bars(self) -> int:
        return self._period + 1

    def start(self) -> Memory:
        return self.Memory([0] * self._period)

    def on_price(self, memory: Memory, tick: PriceUpdate) -> None:
        price = int(tick.price * 10_000 + 0.5)
        last = memory.last
        memory.last = price
        if not last:
            return
        high = price if tick.high is None else int(tick.high * 10_000 + 0.5)
        low = price if tick.low is None else int(tick.low * 10_000 + 0.5)
        reach = max(high, last) - min(low, last)
        at = memory.count % self._period
        memory.total += reach - memory.window[at]
        memory.window[at] = reach
        memory.count += 1

    def size(self, signal: Signal, price: int, memory: Memory, view: View) -> int:
        if memory is None or memory.count < self._period or not memory.total:
            return 0
        # risk x value / (multiple x total / period), in whole numbers throughout
        budget = view.total_value * self._risk * self._period * 1_000
        return budget // (1_000_000 * self._multiple * memory.total * view.rules.multiplier(signal.code))
