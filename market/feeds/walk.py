"""A seeded random walk of daily closes: within price limits, on the price grid, without end.

Every step has its own generator, named by seed, code and day: the story does not depend on which codes are told.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.rules import MarketRules

_VOLATILITY = 0.018
"""Standard deviation of a day's log return, as of a liquid A-share."""
_PULL = 0.003
"""Share of the (log) distance from its first price that a price returns a day, so that none ends at 0 or infinity."""


def daily(
    prices: Mapping[str, float], day: date, seed: int, rules: MarketRules
) -> Iterator[tuple[date, list[tuple[str, float, float]]]]:
    """(day, [(code, close, previous close)]) of every trading day after `day`, going on from `prices`."""
    first = {code: to_units(price) for code, price in prices.items()}
    now = dict(first)
    while True:
        day = rules.session_on(day + timedelta(days=1)).day
        steps = []
        for code, before in now.items():
            now[code] = step(code, before, first[code], day, seed, rules)
            steps.append((code, to_float(now[code]), to_float(before)))
        yield day, steps


def step(code: str, before: int, anchor: int, day: date, seed: int, rules: MarketRules) -> int:
    """The close of `day` after `before`, in units; `anchor` is the price that the walk is drawn towards."""
    generator = random.Random(f"{seed}:{code}:{day.isoformat()}")
    drift = -_PULL * math.log(before / anchor)
    return on_grid(code, before * math.exp(drift + generator.gauss(0.0, _VOLATILITY)), before, day, rules)


def on_grid(code: str, price: float, prev_close: int, day: date, rules: MarketRules) -> int:
    """`price` (units) on the price grid and within the limits that follow from `prev_close`."""
    tick = rules.tick_size(code, day)
    rounded = max(tick, round(price / tick) * tick)
    limits = rules.limits(code, prev_close, day)
    return rounded if limits is None else min(max(rounded, limits[0]), limits[1])
