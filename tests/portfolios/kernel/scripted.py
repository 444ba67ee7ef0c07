"""Components that do as they are told, for tests of what surrounds them. Found by path, as a user's own would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

PATH = "tests.portfolios.kernel.scripted:Scripted"
CONTRADICTING = "tests.portfolios.kernel.scripted:Contradicting"
PAIR = "tests.portfolios.kernel.scripted:Pair"


class Scripted(Strategy):
    """Signals by the number of the price: 1 buys, -1 sells, 0 or the end of the script does nothing."""

    class Params(msgspec.Struct, frozen=True):
        script: Annotated[list[int], param("What to do at each price")]

    class Memory(msgspec.Struct):
        count: int = 0

    def on_price(self, memory: Any, tick: PriceUpdate) -> Signal | None:
        script = self.params.script
        memory.count += 1
        if memory.count > len(script) or not script[memory.count - 1]:
            return None
        return Signal(script[memory.count - 1], "as scripted")


class Contradicting(Strategy):
    """Buys and sells its code at once, at every price."""

    def on_price(self, memory: Any, tick: PriceUpdate) -> Sequence[Signal]:
        return [Signal(BUY, "up"), Signal(SELL, "down")]


class Pair(Strategy):
    """At every price of one code buys the other ones; counts prices over the whole portfolio."""

    class Params(msgspec.Struct, frozen=True):
        others: Annotated[list[str], param("Codes to buy")]

    class State(msgspec.Struct):
        prices: int = 0

    def on_price(self, memory: Any, tick: PriceUpdate) -> Sequence[Signal]:
        self.state.prices += 1
        return [Signal(BUY, "the other one moved", code) for code in self.params.others if code != tick.code]
