"""A strategy that bears witness: it remembers every price it was told, in its order, and trades by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Sizer, Strategy, View, param

WITNESS = "tests.protocol.components:Witness"
THREE_LOTS = "tests.protocol.components:ThreeLots"

_BUY = Signal(BUY, "its turn")
_SELL = Signal(SELL, "its turn")


def calm(_code: str, _number: int) -> bool:
    """Nobody raises."""
    return False


tantrum: Callable[[str, int], bool] = calm
"""Whether it raises at this price, this time; the schedule's."""


class Witness(Strategy):
    """A tick's number is its volume. It buys at every `buys`-th, and at every `sells`-th takes back what is open."""

    class Params(msgspec.Struct, frozen=True):
        buys: Annotated[int, param("Prices between two buys", ge=1)] = 2
        sells: Annotated[int, param("Prices between two sells", ge=1)] = 3

    class State(msgspec.Struct):
        seen: dict[str, list[int]] = {}

    params: Params

    def on_price(self, memory: Any, tick: PriceUpdate) -> Signal | None:
        number = tick.volume or 0
        if tantrum(tick.code, number):
            raise RuntimeError("not now")
        self.state.seen.setdefault(tick.code, []).append(number)
        if number % self.params.buys == 0:
            return _BUY
        return _SELL if number % self.params.sells == 0 else None


class ThreeLots(Sizer):
    """Three hundred shares, so that they can be filled in parts."""

    def size(self, signal: Signal, price: int, memory: Any, view: View) -> int:
        return 300
