"""How long a portfolio was silent: pure functions of the times at which its orders arrived."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def longest(arrivals: Sequence[float], begun: float, ended: float) -> float:
    """The longest time between two consecutive arrivals of which any part lies in [begun, ended].

    `arrivals` ascend. ValueError if there is none before, or none after: then nobody knows how long the silence was.
    """
    first, last = bisect_right(arrivals, begun) - 1, bisect_left(arrivals, ended)
    if first < 0 or last >= len(arrivals):
        raise ValueError("nothing arrived before or after")
    return max((arrivals[i + 1] - arrivals[i] for i in range(first, last)), default=0.0)
