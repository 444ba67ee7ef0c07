"""Keeps single positions and all of them together below a share of the portfolio's value."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, PriceUpdate, RiskRule, Signal, Verdict, View, param


class PositionRatioRisk(RiskRule):
    """Shrinks or vetoes buys that would take a position, or all positions, over a share of the total value."""

    class Params(msgspec.Struct, frozen=True):
        max_position_ratio: Annotated[
            float, param("Largest share of the value in one code", unit="ratio", gt=0, le=1)
        ] = 0.2
        max_total_position_ratio: Annotated[
            float, param("Largest share of the value in all codes together", unit="ratio", gt=0, le=1)
        ] = 0.8

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._single = round(params.max_position_ratio * 1_000_000)
        self._total = round(params.max_total_position_ratio * 1_000_000)

    def review(self, signal: Signal, tick: PriceUpdate, view: View) -> Verdict | None:
        if signal.direction != BUY:
            return None
        value = view.total_value
        single = value * self._single // 1_000_000 - view.committed(signal.code)
        total = value * self._total // 1_000_000 - view.committed()
        if single <= total:
            return Verdict(max(single, 0), f"a position may be {self.params.max_position_ratio:.4g} of the value")
        ratio = self.params.max_total_position_ratio
        return Verdict(max(total, 0), f"all positions together may be {ratio:.4g} of the value")
