"""A strategy that keeps count of what it is told: the drills' witness, saved in the portfolio's own checkpoint.

Every tick of a drill carries its number (from 1, by code) as `bid_volume`. What a portfolio has missed or been told
twice in the history that survived is therefore written in its own state, whoever ran it and however often it moved.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import msgspec

from portfolios.kernel.component import BUY, SELL, PriceUpdate, Signal, Strategy, param

NAME = "ginkgo_site.drill.tally:TallyStrategy"
SLOW = "ginkgo_site.drill.tally:SlowStrategy"
WAIT_S = 0.2
FLAG = "DRILL_SLOW"
"""In a node's environment: the path of a file; while it exists, the slow strategy waits."""


class TallyStrategy(Strategy):
    """Buys and sells in turn at every so many ticks of a code, and counts the ticks."""

    class Params(msgspec.Struct, frozen=True):
        every: Annotated[int, param("ticks of a code from one order to the next", unit="ticks", ge=2)] = 20

    class Memory(msgspec.Struct):
        """Of one code: the newest number, how many were told, how many of them were old, how many never came."""

        newest: int = 0
        told: int = 0
        twice: int = 0
        missing: int = 0

    def on_price(self, memory: Memory, tick: PriceUpdate) -> Signal | None:
        number = tick.bid_volume or 0
        memory.told += 1
        if number <= memory.newest:
            memory.twice += 1
            return None
        memory.missing += number - memory.newest - 1
        memory.newest = number
        if number % self.params.every:
            return None
        held = self.view.positions.get(tick.code)
        return Signal(SELL if held is not None and held.volume else BUY, f"tick {number}")


class SlowStrategy(TallyStrategy):
    """Keeps count too, and waits at each event while a drill wants it to."""

    def on_price(self, memory: TallyStrategy.Memory, tick: PriceUpdate) -> Signal | None:
        flag = os.environ.get(FLAG)
        if flag and Path(flag).exists():
            threading.Event().wait(WAIT_S)
        return super().on_price(memory, tick)
