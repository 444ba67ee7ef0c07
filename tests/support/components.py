"""Components of a user's own (SPEC P6), for tests: what they do on purpose no real one does."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, PriceUpdate, Signal, Sizer, Strategy, View, param

RECORDER = "tests.support.components:Recorder"
ONE_LOT = "tests.support.components:OneLot"

_BUY = Signal(BUY, "its turn")


class Recorder(Strategy):
    """Remembers, in a digest, every price in the order in which it came; buys at every `every`-th.

    `seconds` is how long it takes for each price, `fails_at` the count of prices at which it always raises.
    """

    class Params(msgspec.Struct, frozen=True):
        every: Annotated[int, param("Prices between two buys, 0: never", ge=0)] = 0
        seconds: Annotated[float, param("Time it takes for a price", unit="s", ge=0)] = 0.0
        fails_at: Annotated[float, param("The price at which it raises, 0: never", ge=0)] = 0.0
        cannot_stop: Annotated[bool, param("Raise in on_stop")] = False
        cannot_start: Annotated[bool, param("Raise when made")] = False

    class State(msgspec.Struct):
        count: int = 0
        digest: str = ""

    params: Params

    def __init__(self, params: Any) -> None:
        if params.cannot_start:
            raise RuntimeError("made to fail")
        super().__init__(params)

    def on_price(self, memory: Any, tick: PriceUpdate) -> Signal | None:
        if self.params.seconds:
            time.sleep(self.params.seconds)
        if self.params.fails_at and tick.price == self.params.fails_at:
            raise RuntimeError(f"does not like {tick.price}")
        state = self.state
        state.count += 1
        seen = f"{state.digest}|{tick.code}|{tick.price}|{tick.timestamp.isoformat()}"
        state.digest = hashlib.md5(seen.encode(), usedforsecurity=False).hexdigest()
        return _BUY if self.params.every and state.count % self.params.every == 0 else None

    def on_stop(self) -> None:
        if self.params.cannot_stop:
            raise RuntimeError("will not stop")


class OneLot(Sizer):
    """A hundred shares, whatever they cost."""

    def size(self, signal: Signal, price: int, memory: Any, view: View) -> int:
        return 100
