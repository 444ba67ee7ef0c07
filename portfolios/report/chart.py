"""Charts as inline SVG, without scripts: a line over the sessions, an area below zero, marks on a line.

All charts share one width, so that the same session stands at the same place in each. Colours are CSS classes of the
page, which has them for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from html import escape
from typing import NamedTuple

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 12, 24
MOST_POINTS = 700
"""More sessions than this are drawn as the lowest and the highest of each bucket, so no extreme is lost."""


class Mark(NamedTuple):
    """A trade at a session (its place in the days) and a value: `direction` 1 buy, -1 sell."""

    at: int
    value: float
    direction: int
    title: str


class Chart:
    """Draws `values`, one a day of `days`; a value of None is a gap. `show` prints a value of the axis."""

    def __init__(
        self,
        days: Sequence[date],
        values: Sequence[float | None],
        height: int,
        show: Callable[[float], str],
        *,
        extra: Sequence[float] = (),
    ) -> None:
        """`extra`: further values that the axis has to reach."""
        self._days = days
        self._values = values
        self._height = height
        self._show = show
        known = [value for value in values if value is not None] + list(extra)
        self._ticks = ticks(min(known, default=0.0), max(known, default=1.0))
        self._low = min(self._ticks[0], *known) if known else 0.0
        self._high = max(self._ticks[-1], *known) if known else 1.0

    def line(self, label: str, marks: Sequence[Mark] = (), reference: float | None = None) -> str:
        """`reference`: a value to draw as a dashed line across."""
        across = "" if reference is None else self._across(reference)
        body = f'{across}<path class="line" d="{self._path()}"/>{"".join(map(self._mark, marks))}'
        return self._svg(label, body)

    def area(self, label: str) -> str:
        """Filled between the values and zero."""
        zero = self._y(0.0)
        path = f"M{LEFT},{zero:.1f}L{self._path()[1:]}L{self._x(len(self._days) - 1):.1f},{zero:.1f}Z"
        return self._svg(label, f'<path class="under" d="{path}"/>')

    def _svg(self, label: str, body: str) -> str:
        return (
            f'<svg viewBox="0 0 {WIDTH} {self._height}" role="img" aria-label="{escape(label, quote=True)}">'
            f"{self._grid()}{body}</svg>"
        )

    def _x(self, at: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / max(len(self._days) - 1, 1)

    def _y(self, value: float) -> float:
        share = (value - self._low) / ((self._high - self._low) or 1.0)
        return TOP + (self._height - TOP - BOTTOM) * (1 - share)

    def _path(self) -> str:
        """A gap begins the line anew."""
        parts: list[str] = []
        pen = "M"
        for at, value in thinned(self._values):
            if value is None:
                pen = "M"
                continue
            parts.append(f"{pen}{self._x(at):.1f},{self._y(value):.1f}")
            pen = "L"
        return "".join(parts)

    def _across(self, value: float) -> str:
        y = self._y(value)
        return f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'

    def _mark(self, mark: Mark) -> str:
        x, y = self._x(mark.at), self._y(mark.value)
        size = 5.0 * mark.direction
        name = "buy" if mark.direction > 0 else "sell"
        # The tip touches the price, so that the line stays visible.
        shape = f"M{x:.1f},{y:.1f}l-4.5,{1.7 * size:.1f}h9z"
        return f'<path class="{name}" d="{shape}"><title>{escape(mark.title)}</title></path>'

    def _grid(self) -> str:
        parts = []
        for value in self._ticks:
            y, text = self._y(value), escape(self._show(value))
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="axis" x="{LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
            )
        for number, (at, text) in enumerate(self._dates()):
            x = self._x(at)
            name = "axis other" if number % 2 else "axis"  # every other one is left out where there is little room
            anchor = "end" if x > WIDTH - 40 else "middle"
            parts.append(
                f'<text class="{name}" x="{x:.1f}" y="{self._height - 6}" text-anchor="{anchor}">{text}</text>'
            )
        return "".join(parts)

    def _dates(self) -> list[tuple[int, str]]:
        """The first sessions of years, months or days: the coarsest that give at least three, at most ten of them."""
        named: list[tuple[int, str]] = []
        for form in ("%Y", "%Y-%m", "%Y-%m-%d"):
            texts = [day.strftime(form) for day in self._days]
            named = [(at, text) for at, text in enumerate(texts) if at == 0 or texts[at - 1] != text]
            if form != "%Y-%m-%d" and len(named) > 1 and named[1][0] < len(self._days) / 20:
                del named[0]  # it would stand on its neighbour
            if len(named) >= 3:
                break
        step = -(-len(named) // 10)
        return named[::step]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that span low to high: steps of 1, 2 or 5 times a power of ten."""
    spread = (high - low) or abs(high) or 1.0
    raw = spread / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(number * step, 10) for number in range(first, last + 1)]


def thinned(values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    """(place, value), at most some `MOST_POINTS` of them."""
    if len(values) <= MOST_POINTS:
        return list(enumerate(values))
    size = -(-2 * len(values) // MOST_POINTS)
    kept: list[tuple[int, float | None]] = []
    for start in range(0, len(values), size):
        known = [(value, at) for at, value in enumerate(values[start : start + size], start) if value is not None]
        if not known:
            kept.append((start, None))
            continue
        ends = {min(known)[1], max(known)[1]}
        if start + size >= len(values):
            ends.add(known[-1][1])
        kept += [(at, values[at]) for at in sorted(ends)]
    return kept
