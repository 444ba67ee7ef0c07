"""Stops trading when the portfolio as a whole has lost too much from its peak."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, Exit, PriceUpdate, RiskRule, Signal, Verdict, View, param


class MaxDrawdownRisk(RiskRule):
    """Closes everything once the total value is `max_drawdown` percent below its peak, and lets nothing be opened for
    `pause` days after (0: until its parameters are changed). The peak then starts anew from the value of that day.

    With futures, sales open positions too: until the pause is over they pass only where something is held.
    """

    class Params(msgspec.Struct, frozen=True):
        max_drawdown: Annotated[float, param("Loss from the peak at which to stop", unit="%", gt=0, lt=100)] = 20.0
        pause: Annotated[int, param("Calendar days without new positions after it", unit="days", ge=0, le=3650)] = 30

    class State(msgspec.Struct):
        """`peak` in units; `tripped` is the day of the stop, None while trading."""

        peak: int = 0
        tripped: date | None = None

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._kept = 1_000_000 - round(params.max_drawdown * 10_000)

    def on_value(self, view: View) -> Exit | None:
        state = self.state
        if state.tripped is None:
            value = view.total_value
            if value > state.peak:
                state.peak = value
                return None
            if value * 1_000_000 > state.peak * self._kept:
                return None
            state.tripped = view.day
        # As long as it is tripped: what could not be sold today (T+1) is sold tomorrow.
        return Exit(f"the portfolio lost {self.params.max_drawdown:g} % from its peak", everything=True)

    def review(self, signal: Signal, tick: PriceUpdate, view: View) -> Verdict | None:
        state = self.state
        if state.tripped is not None and self.params.pause and (view.day - state.tripped).days >= self.params.pause:
            state.tripped = None
            state.peak = view.total_value
        if state.tripped is None:
            state.peak = max(state.peak, view.total_value)
            return None
        if signal.direction != BUY and signal.code in view.positions:
            return None
        until = f"for {self.params.pause} days" if self.params.pause else "until its parameters change"
        return Verdict(0, f"no new positions {until} after a drawdown of {self.params.max_drawdown:g} %")
