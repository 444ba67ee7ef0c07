"""Takes a profit once it is large enough."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import NEVER, Exit, PriceUpdate, RiskRule, View, param
from portfolios.kernel.ledger import Position


class ProfitTargetRisk(RiskRule):
    """Closes a position once its open profit is `profit_target` percent of its cost (fees included)."""

    class Params(msgspec.Struct, frozen=True):
        profit_target: Annotated[float, param("Profit at which to close", unit="%", gt=0, le=10000)] = 20.0

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._target = round(params.profit_target * 10_000)

    def on_price(self, position: Position, tick: PriceUpdate, view: View) -> Exit | None:
        if position.unrealised * 1_000_000 < abs(position.cost) * self._target:
            return None
        return Exit(f"earned {self.params.profit_target:g} % of its cost")

    def bounds(self, position: Position) -> tuple[int, int]:
        cost, held = abs(position.cost), abs(position.volume * position.multiplier)
        if position.volume > 0:
            return 0, -(-cost * (1_000_000 + self._target) // (1_000_000 * held))
        return cost * (1_000_000 - self._target) // (1_000_000 * held), NEVER
