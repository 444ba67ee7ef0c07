"""A portfolio's cash and positions as the engine knows them: from fills and open orders, not from the node's word."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from portfolios.kernel.orders import BUY

_SESSIONS_KEPT = 5


class Account:
    """The sum of a portfolio's fills. Money in units of 0.0001, sessions by their ordinal, volumes in shares."""

    def __init__(self, cash: int) -> None:
        self.cash = cash
        self._held: dict[str, int] = defaultdict(int)
        self._bought: dict[str, dict[int, int]] = defaultdict(dict)
        self._turnover: dict[int, int] = defaultdict(int)

    def book(self, code: str, direction: int, volume: int, amount: int, fees: int, session: int) -> None:
        """One fill: `amount` and `fees` in units, in session `session`."""
        self.cash -= direction * amount + fees
        self._held[code] += direction * volume
        if direction == BUY:
            bought = self._bought[code]
            bought[session] = bought.get(session, 0) + volume
            _forget_oldest(bought)
        self._turnover[session] += amount
        _forget_oldest(self._turnover)

    def adjust(self, cash: int, code: str, volume: int) -> None:
        """A deposit, a withdrawal or a correction, as the portfolio booked it: no trade, so it locks nothing."""
        self.cash += cash
        if code:
            self._held[code] += volume

    def held(self, code: str) -> int:
        return self._held.get(code, 0)

    def sellable(self, code: str, session: int, t_plus: int) -> int:
        """What may be sold in `session`: with T+1, all but what was bought in it (or, seen late, after it)."""
        locked = sum(v for day, v in self._bought.get(code, {}).items() if day >= session) if t_plus else 0
        return self.held(code) - locked

    def positions(self) -> dict[str, int]:
        return {code: volume for code, volume in self._held.items() if volume}

    def turnover(self, session: int) -> int:
        return self._turnover.get(session, 0)


class Pending(NamedTuple):
    """What an open order may still do: `reserved` units of cash and `remaining` volume, in session `session`."""

    code: str
    direction: int
    remaining: int
    reserved: int
    session: int


class Commitments:
    """The sum of a portfolio's open orders."""

    def __init__(self, pending: list[Pending] | None = None) -> None:
        self._pending = pending or []

    def add(self, pending: Pending) -> None:
        self._pending.append(pending)

    def cash(self) -> int:
        return sum(each.reserved for each in self._pending if each.direction == BUY)

    def selling(self, code: str) -> int:
        return sum(each.remaining for each in self._pending if each.code == code and each.direction != BUY)

    def value(self, session: int) -> int:
        return sum(each.reserved for each in self._pending if each.session == session)


def _forget_oldest(by_session: dict[int, int]) -> None:
    if len(by_session) > _SESSIONS_KEPT:
        del by_session[min(by_session)]
