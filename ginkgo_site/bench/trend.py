"""Whether a measured series goes on growing: a straight line through it, beside how much it fluctuates around that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, pstdev

from ginkgo_site.bench.figures import median

_LEAST = 0.01
"""Of the level: less than that a series may differ by from its beginning to its end, whatever it fluctuates."""


@dataclass(frozen=True)
class Trend:
    """`growth` over all the time measured and `per_hour`, along the line; `noise`: twice the deviation around it."""

    level: float
    growth: float
    per_hour: float
    noise: float

    @property
    def flat(self) -> bool:
        """It has grown by no more than it fluctuates anyway, or by no more than a hundredth."""
        return self.growth <= max(self.noise, self.level * _LEAST)


def of(seconds: Sequence[float], values: Sequence[float], group: float = 60.0) -> Trend:
    """The trend of the medians of each `group` seconds. ValueError if there are fewer than three of them."""
    groups: dict[int, list[float]] = {}
    for at, value in zip(seconds, values, strict=True):
        groups.setdefault(int((at - seconds[0]) // group), []).append(value)
    if len(groups) < 3:
        raise ValueError(f"{len(groups)} groups of {group:g} s are too few for a trend")
    times = [number * group for number in groups]
    middles = [median(each) for each in groups.values()]
    slope, start = linear_regression(times, middles)
    around = pstdev(value - start - slope * at for at, value in zip(times, middles, strict=True))
    return Trend(median(middles), slope * (times[-1] - times[0]), slope * 3600, 2 * around)
