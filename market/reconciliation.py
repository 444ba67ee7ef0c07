"""Reconciliation, decided: what an account's books should hold by its trades against what somebody says (SPEC M6).

Pure functions. *Paid cash* is cash as if everything held were paid in full; for shares that is cash itself. For what is
held on margin it is cash less the contracts' value at entry (at a broker: equity less their value now), and unlike cash
it does not depend on the order of the trades, so that sums can be compared. Money in units of 0.0001.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    POSITION = "position"
    CASH = "cash"


class Trade(NamedTuple):
    """Trades of one code in one direction (1 buy, -1 sell), summed: volume, and units of money and of fees."""

    code: str
    direction: int
    volume: int
    amount: int
    fees: int


class Adjusted(NamedTuple):
    """A ledger entry that is no trade: `cash` units, or `volume` (negative: less) of `code` at `price` units."""

    cash: int
    code: str = ""
    volume: int = 0
    price: int = 0


@dataclass(frozen=True)
class Holding:
    """One side of a comparison: paid cash (None: not to be compared), and volumes by code."""

    cash: int | None
    positions: Mapping[str, int] = field(default_factory=dict)


class Gap(NamedTuple):
    """What differs: units of money, or a volume of `code`."""

    kind: Kind
    code: str
    expected: int
    actual: int

    @property
    def size(self) -> int:
        return self.actual - self.expected


def implied(
    initial_cash: int,
    trades: Iterable[Trade],
    adjusted: Iterable[Adjusted] = (),
    on_margin: Callable[[str], int] = lambda _code: 0,
) -> Holding:
    """What trades and adjustments leave of the initial cash. `on_margin(code)`: its contract's size, 0 if paid in full.

    Of shares a correction moves no cash; contracts that come or go by one do so at its price.
    """
    cash = initial_cash
    positions: dict[str, int] = defaultdict(int)
    for trade in trades:
        positions[trade.code] += trade.direction * trade.volume
        cash -= trade.direction * trade.amount + trade.fees
    for each in adjusted:
        if each.code:
            positions[each.code] += each.volume
        multiplier = on_margin(each.code) if each.code else 0
        cash += -each.volume * each.price * multiplier if multiplier else each.cash
    return Holding(cash, {code: volume for code, volume in positions.items() if volume})


def together(holdings: Iterable[Holding]) -> Holding:
    """Their sum; its cash is not to be compared if that of one is not."""
    cash: int | None = 0
    positions: dict[str, int] = defaultdict(int)
    for each in holdings:
        cash = None if cash is None or each.cash is None else cash + each.cash
        for code, volume in each.positions.items():
            positions[code] += volume
    return Holding(cash, {code: volume for code, volume in positions.items() if volume})


def compare(expected: Holding, actual: Holding) -> list[Gap]:
    """All that differs, cash first, then by code; nothing where they agree to the unit."""
    gaps = []
    if expected.cash is not None and actual.cash is not None and expected.cash != actual.cash:
        gaps.append(Gap(Kind.CASH, "", expected.cash, actual.cash))
    for code in sorted(expected.positions.keys() | actual.positions.keys()):
        should, is_ = expected.positions.get(code, 0), actual.positions.get(code, 0)
        if should != is_:
            gaps.append(Gap(Kind.POSITION, code, should, is_))
    return gaps


class Key(NamedTuple):
    """Whose difference it is: `scope` is portfolio or account, `owner` its id."""

    scope: str
    owner: str
    kind: Kind
    code: str


@dataclass(frozen=True)
class Standing:
    """A difference as the last comparison left it. `since`: when it was first found; `told`: the size that was alerted,
    None while it is only suspected, for it may have been in flight."""

    since: datetime
    size: int
    told: int | None = None


@dataclass
class Verdict:
    """What becomes of the differences: kept ones with their new standing, those to be alerted now, and those that are
    over."""

    standing: dict[Key, Standing] = field(default_factory=dict)
    alerts: list[Key] = field(default_factory=list)
    over: list[Key] = field(default_factory=list)


def judge(
    before: Mapping[Key, Standing], found: Mapping[Key, Gap], compared: Set[tuple[str, str]], now: datetime
) -> Verdict:
    """After a comparison of those `compared` (scope and id), which found these differences.

    One that two successive comparisons have found is alerted, once; again only when its size has changed and two have
    found the new one. What could not be compared stays as it was.
    """
    verdict = Verdict()
    for key, gap in found.items():
        was = before.get(key)
        if was is None:
            verdict.standing[key] = Standing(now, gap.size)
        elif was.told is None or (gap.size != was.told and gap.size == was.size):
            verdict.standing[key] = Standing(was.since, gap.size, gap.size)
            verdict.alerts.append(key)
        else:
            verdict.standing[key] = Standing(was.since, gap.size, was.told)
    for key, was in before.items():
        if key in found:
            continue
        if (key.scope, key.owner) in compared:
            verdict.over.append(key)
        else:
            verdict.standing[key] = was
    return verdict
