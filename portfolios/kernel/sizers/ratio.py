"""The same share of the portfolio for every buy."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import Signal, Sizer, View, param


class RatioSizer(Sizer):
    """Buys for `ratio` of the portfolio's total value, rounded down to whole lots."""

    class Params(msgspec.Struct, frozen=True):
        ratio: Annotated[float, param("Share of the total value for one buy", unit="ratio", gt=0, le=1)] = 0.1

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._ratio: int = round(params.ratio * 1_000_000)

    def size(self, signal: Signal, price: int, memory: Any, view: View) -> int:
        return view.total_value * self._ratio // 1_000_000 // (price * view.rules.multiplier(signal.code))
