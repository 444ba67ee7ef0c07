"""Bets on the return to the average: buys far below it, sells when the price is back."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

_LOW = Signal(BUY, "the price fell far below its average")
_BACK = Signal(SELL, "the price came back to its average")


class MeanReversionStrategy(Strategy):
    """Buys when the price falls `entry` standard deviations below its moving average, sells when it is back within
    `exit` of it. In between nothing changes; the first full window sets where the price is without a signal."""

    class Params(msgspec.Struct, frozen=True):
        period: Annotated[int, param("Prices in the average", unit="bars", ge=2, le=5000)] = 20
        entry: Annotated[float, param("Distance below the average at which to buy", unit="σ", gt=0, le=10)] = 2.0
        exit: Annotated[float, param("Distance below the average at which to sell", unit="σ", ge=-10, le=10)] = 0.0

        def check(self) -> list[tuple[str, str]]:
            if self.exit >= self.entry:
                return [("exit", f"must be smaller than entry ({self.entry:g}), got {self.exit:g}")]
            return []

    class Memory(msgspec.Struct, array_like=True, gc=False):
        """A ring of prices in units with their sum and sum of squares, exact. `zone`: -1 low, 1 back, 0 not known."""

        window: list[int]
        count: int = 0
        total: int = 0
        squares: int = 0
        zone: int = 0

    params: Params

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._period: int = params.period
        self._entry: float = params.entry
        self._exit: float = params.exit

    @property
    def warmup_bars(self) -> int:
        return self._period

    def start(self) -> Memory:
        return self.Memory([0] * self._period)

    def on_price(self, memory: Memory, tick: PriceUpdate) -> Signal | None:
        price = int(tick.price * 10_000 + 0.5)
        period = self._period
        window = memory.window
        at = memory.count % period
        old = window[at]
        window[at] = price
        memory.count += 1
        memory.total = total = memory.total + price - old
        memory.squares = squares = memory.squares + price * price - old * old
        if memory.count < period:
            return None
        # Both sides times the period: distance = period x (average - price), spread = period x deviation.
        distance = total - price * period
        spread = (squares * period - total * total) ** 0.5
        if distance >= self._entry * spread and distance > 0:
            zone = -1
        elif distance <= self._exit * spread:
            zone = 1
        else:
            return None
        before, memory.zone = memory.zone, zone
        if zone == before or before == 0:
            return None
        return _LOW if zone < 0 else _BACK
