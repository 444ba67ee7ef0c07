"""Leaves a position that has lost too much."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import NEVER, Exit, PriceUpdate, RiskRule, View, param
from portfolios.kernel.ledger import Position


class LossLimitRisk(RiskRule):
    """Sells a position once its price is `loss_limit` percent below its average cost (fees included)."""

    class Params(msgspec.Struct, frozen=True):
        loss_limit: Annotated[float, param("Loss at which to sell", unit="%", gt=0, lt=100)] = 10.0

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._limit = round(params.loss_limit * 10_000)

    def on_price(self, position: Position, tick: PriceUpdate, view: View) -> Exit | None:
        if -position.unrealised * 1_000_000 < abs(position.cost) * self._limit:
            return None
        return Exit(f"lost {self.params.loss_limit:g} % of its cost")

    def bounds(self, position: Position) -> tuple[int, int]:
        cost, held = abs(position.cost), abs(position.volume * position.multiplier)
        if position.volume > 0:
            return cost * (1_000_000 - self._limit) // (1_000_000 * held), NEVER
        return 0, -(-cost * (1_000_000 + self._limit) // (1_000_000 * held))
