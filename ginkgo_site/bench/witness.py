"""A strategy that keeps count of what it is told and orders where the feed says so: the benchmarks' witness.

Every tick carries its number (from 1, by code) as `bid_volume`; one whose `ask_volume` is MARK is to be ordered on.
What a portfolio has missed or been told twice is therefore written in its own checkpoint, whoever ran it and however
often it moved; and each marked tick in the log has exactly one order, whose id follows from its offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from portfolios.kernel.component import BUY, PriceUpdate, Signal, Strategy

NAME = "ginkgo_site.bench.witness:WitnessStrategy"
MARK = 1
AMOUNT = 30_000
"""Money for one order: at least one lot of the dearest share of the benchmarks' market."""


class WitnessStrategy(Strategy):
    """Buys at marked ticks, and counts all of them."""

    class Params(msgspec.Struct, frozen=True):
        pass

    class Memory(msgspec.Struct, array_like=True, gc=False):
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
        return Signal(BUY, "marked") if tick.ask_volume == MARK else None


def config(codes: Sequence[str], amount: int = AMOUNT) -> dict[str, Any]:
    """A portfolio's configuration. One order does not wait for the answer to another: each mark has its own."""
    return {
        "strategy": {"name": NAME, "params": {}},
        "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 8}}],
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": amount}},
        "codes": list(codes),
        "policy": {"pyramiding": True},
    }
