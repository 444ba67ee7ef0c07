"""Lets signals pass in certain hours only."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Any

import msgspec

from portfolios.kernel.component import BUY, PriceUpdate, RiskRule, Signal, Verdict, View, param


class TradingTimeRisk(RiskRule):
    """Vetoes signals outside `windows`, both ends included, in the market's local time of the price. Risk rules' own
    exits are not held up."""

    class Params(msgspec.Struct, frozen=True):
        windows: Annotated[
            list[str], param('Hours such as "09:35-11:30"; none: the market\'s own', unit="local time")
        ] = []
        buys_only: Annotated[bool, param("Whether sales pass at any time")] = False

        def check(self) -> list[tuple[str, str]]:
            faults = []
            for number, window in enumerate(self.windows):
                try:
                    start, end = _parse(window)
                except ValueError:
                    faults.append((f"windows[{number}]", f"must be such as 09:35-11:30, got {window!r}"))
                else:
                    if start >= end:
                        faults.append((f"windows[{number}]", f"must end after it starts, got {window!r}"))
            return faults

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self._windows = [_parse(window) for window in params.windows]

    def review(self, signal: Signal, tick: PriceUpdate, view: View) -> Verdict | None:
        if self.params.buys_only and signal.direction != BUY:
            return None
        local = tick.timestamp.astimezone(view.rules.zone).time()
        if any(start <= local <= end for start, end in self._windows or view.rules.hours):
            return None
        return Verdict(0, f"{local:%H:%M:%S} is outside the trading hours")


def _parse(window: str) -> tuple[time, time]:
    start, _, end = window.partition("-")
    return time.fromisoformat(start.strip()), time.fromisoformat(end.strip())
