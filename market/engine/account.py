"""A portfolio's cash and positions as the engine knows them: from fills and open orders, not from the node's word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from portfolios.kernel.ledger import Ledger
from portfolios.kernel.orders import BUY

_PPM = 1_000_000
_SESSIONS_KEPT = 5


class Account:
    """The sum of a portfolio's fills, in its own order, by the kernel's ledger: what is held on margin (`margin_rate`,
    parts per million) is not paid for. Money in units of 0.0001, sessions by their ordinal, volumes in shares or
    contracts."""

    def __init__(self, cash: int) -> None:
        self._ledger = Ledger(initial=cash, cash=cash)
        self._bought: dict[str, dict[int, int]] = defaultdict(dict)
        self._turnover: dict[int, int] = defaultdict(int)

    @property
    def cash(self) -> int:
        return self._ledger.cash

    @property
    def available(self) -> int:
        """Cash less what contracts tie up: margin and open losses, at the prices last seen. Never below zero."""
        return self._ledger.available

    def book(
        self,
        code: str,
        direction: int,
        volume: int,
        amount: int,
        fees: int,
        session: int,
        multiplier: int = 1,
        margin_rate: int = 0,
    ) -> None:
        """One fill: `amount` and `fees` in units, in session `session`."""
        self._ledger.fill(code, direction, volume, amount, fees, multiplier=multiplier, margin_rate=margin_rate)
        if direction == BUY:
            bought = self._bought[code]
            bought[session] = bought.get(session, 0) + volume
            _forget_oldest(bought)
        self._turnover[session] += amount
        _forget_oldest(self._turnover)

    def adjust(
        self, cash: int, code: str, volume: int, price: int = 0, multiplier: int = 1, margin_rate: int = 0
    ) -> None:
        """A deposit, a withdrawal or a correction, as the portfolio booked it: no trade, so it locks nothing. `cash` is
        what it did to the cash, all of it."""
        after = self._ledger.cash + cash
        if code and volume:
            self._ledger.adjust_position(code, volume, price, multiplier, margin_rate)
        self._ledger.cash = after

    def mark(self, price_of: Callable[[str], int | None]) -> None:
        """What is held on margin is worth, and ties up, what it does at these prices (units; None: as before)."""
        for code, position in self._ledger.positions.items():
            if position.margin_rate and (price := price_of(code)):
                self._ledger.mark(position, price)

    def held(self, code: str) -> int:
        position = self._ledger.positions.get(code)
        return 0 if position is None else position.volume

    def sellable(self, code: str, session: int, t_plus: int) -> int:
        """What may be sold in `session`: with T+1, all but what was bought in it (or, seen late, after it)."""
        locked = sum(v for day, v in self._bought.get(code, {}).items() if day >= session) if t_plus else 0
        return self.held(code) - locked

    def positions(self) -> dict[str, int]:
        return {code: position.volume for code, position in self._ledger.positions.items()}

    def turnover(self, session: int) -> int:
        return self._turnover.get(session, 0)


class Pending(NamedTuple):
    """What an open order may still do: `reserved` units of value and `remaining` volume, in session `session`; `cash`
    is what it holds back of the cash."""

    code: str
    direction: int
    remaining: int
    reserved: int
    session: int
    cash: int = 0


def cash_held(direction: int, value: int, margin_rate: int, held: int) -> int:
    """Units of cash that an order worth `value` units holds back, `held` being what there is of its code: of a buy all
    of it, on margin (parts per million) the margin of one that opens."""
    if margin_rate:
        return -(-value * margin_rate // _PPM) if held * direction >= 0 else 0
    return value if direction == BUY else 0


class Commitments:
    """The sum of a portfolio's open orders."""

    def __init__(self, pending: list[Pending] | None = None) -> None:
        self._pending = pending or []

    def add(self, pending: Pending) -> None:
        self._pending.append(pending)

    def cash(self) -> int:
        return sum(each.cash for each in self._pending)

    def selling(self, code: str) -> int:
        return sum(each.remaining for each in self._pending if each.code == code and each.direction != BUY)

    def value(self, session: int) -> int:
        return sum(each.reserved for each in self._pending if each.session == session)


def _forget_oldest(by_session: dict[int, int]) -> None:
    if len(by_session) > _SESSIONS_KEPT:
        del by_session[min(by_session)]
