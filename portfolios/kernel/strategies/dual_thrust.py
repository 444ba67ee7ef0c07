"""Dual Thrust (Michael Chalek): trades the breakout from a range that the last sessions' highs, lows and closes set."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

_UP = Signal(BUY, "the price broke out above the range")
_DOWN = Signal(SELL, "the price broke out below the range")


class DualThrustStrategy(Strategy):
    """Buys when the price is over the session's open plus `k_up` times the range of the last `sessions`, sells when it
    is under the open less `k_down` times that range, where range = max(highest high - lowest close, highest
    close - lowest low).

    A first price of a session that is its whole range (a feed of daily closes) has no open of its own: the
    previous session's close stands in for it.
    """

    class Params(msgspec.Struct, frozen=True):
        sessions: Annotated[int, param("Sessions that set the range", unit="sessions", ge=1, le=250)] = 4
        k_up: Annotated[float, param("Share of the range above the open at which to buy", gt=0, le=10)] = 0.5
        k_down: Annotated[float, param("Share of the range below the open at which to sell", gt=0, le=10)] = 0.5

    class Memory(msgspec.Struct, array_like=True, gc=False):
        """High, low and close of each of the last sessions, and those of the session so far; `upper` and `lower` of
        this session (0: not known yet); `side` of the last breakout."""

        highs: list[float] = []
        lows: list[float] = []
        closes: list[float] = []
        high: float = 0.0
        low: float = 0.0
        close: float = 0.0
        upper: float = 0.0
        lower: float = 0.0
        side: int = 0

    params: Params

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._sessions: int = params.sessions

    @property
    def warmup_bars(self) -> int:
        return self._sessions + 1

    def start(self) -> Memory:
        return self.Memory()

    def on_session(self, memory: Memory, tick: PriceUpdate) -> None:
        previous = memory.close
        if previous:
            for kept, last in ((memory.highs, memory.high), (memory.lows, memory.low), (memory.closes, previous)):
                kept.append(last)
                del kept[: -self._sessions]
        high = tick.high if tick.high is not None else tick.price
        low = tick.low if tick.low is not None else tick.price
        memory.high, memory.low = high, low
        if len(memory.closes) < self._sessions:
            return
        bare_close = tick.open is not None and high == low
        start = previous if bare_close else (tick.open if tick.open is not None else tick.price)
        reach = max(max(memory.highs) - min(memory.closes), max(memory.closes) - min(memory.lows))
        memory.upper = start + self.params.k_up * reach
        memory.lower = start - self.params.k_down * reach

    def on_price(self, memory: Memory, tick: PriceUpdate) -> Signal | None:
        price = tick.price
        memory.close = price
        if price > memory.high:
            memory.high = price
        elif price < memory.low:
            memory.low = price
        if not memory.upper:
            return None
        if price > memory.upper:
            if memory.side != 1:
                memory.side = 1
                return _UP
        elif price < memory.lower and memory.side != -1:
            memory.side = -1
            return _DOWN
        return None
