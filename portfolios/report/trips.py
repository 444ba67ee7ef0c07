"""Round trips: what was made on each position between being flat and being flat again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from portfolios.backtest.result import Traded
from portfolios.kernel.orders import BUY


@dataclass(frozen=True, slots=True)
class Trip:
    """A position in one code from flat to flat, long or short. `profit` in units: all received less all paid, fees
    included. `volume` is all that was traded on the way in."""

    code: str
    opened: date
    closed: date
    volume: int
    profit: int


def round_trips(fills: Iterable[Traded]) -> list[Trip]:
    """The trips that are over, in the order of their end; a position that is still held is none yet.

    A fill that turns a position around (futures) closes one trip and opens another; its fees are shared.
    """
    trips: list[Trip] = []
    under_way: dict[str, _Open] = {}
    for fill, day, _ in fills:
        at = under_way.setdefault(fill.code, _Open(day))
        fees = fill.commission + fill.tax
        closing = min(fill.volume, abs(at.held)) if at.held * fill.direction < 0 else fill.volume
        amount, paid = fill.amount * closing // fill.volume, fees * closing // fill.volume
        at.take(fill.direction, closing, amount, paid)
        if at.held == 0:
            trips.append(Trip(fill.code, at.opened, day, at.entered, at.profit))
            del under_way[fill.code]
            if closing < fill.volume:
                at = under_way[fill.code] = _Open(day)
                at.take(fill.direction, fill.volume - closing, fill.amount - amount, fees - paid)
    return trips


class _Open:
    """A position under way."""

    __slots__ = ("entered", "held", "opened", "profit")

    def __init__(self, opened: date) -> None:
        self.opened = opened
        self.held = self.entered = self.profit = 0

    def take(self, direction: int, volume: int, amount: int, fees: int) -> None:
        if self.held * direction >= 0:
            self.entered += volume
        self.held += direction * volume
        self.profit -= (amount if direction == BUY else -amount) + fees
