"""The same amount of money for every buy."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import Signal, Sizer, View, param
from portfolios.kernel.money import to_units


class FixedAmountSizer(Sizer):
    """Buys for `amount` of the portfolio's currency, rounded down to whole lots."""

    class Params(msgspec.Struct, frozen=True):
        amount: Annotated[float, param("Money for one buy", unit="currency", gt=0, le=1e10)]

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._amount = to_units(float(params.amount))

    def size(self, signal: Signal, price: int, memory: Any, view: View) -> int:
        return self._amount // (price * view.rules.multiplier(signal.code))
