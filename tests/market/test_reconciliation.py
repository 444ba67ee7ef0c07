"""What differs, what is told of it and how often: the pure part of reconciliation (SPEC M6)."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.reconciliation import (
    Adjusted,
    Gap,
    Holding,
    Key,
    Kind,
    Standing,
    Trade,
    compare,
    implied,
    judge,
    together,
)
from portfolios.kernel.ledger import Ledger
from portfolios.kernel.rules import rules_for

NOW = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
KEY = Key("portfolio", "p", Kind.POSITION, "A")
CODES = {
    "cn": ["600519.SH", "000001.SZ"],
    "hk": ["00700.HK", "00005.HK"],
    "us": ["AAPL.US", "MSFT.US"],
    "futures": ["IF2612.CFX", "RB2612.SHF"],
}


def test_what_agrees_to_the_unit_differs_in_nothing() -> None:
    assert compare(Holding(5, {"A": 1}), Holding(5, {"A": 1})) == []


def test_each_difference_has_what_was_expected_and_what_is() -> None:
    found = compare(Holding(5, {"A": 1, "B": 2}), Holding(6, {"B": -2, "C": 3}))
    assert found == [
        Gap(Kind.CASH, "", 5, 6),
        Gap(Kind.POSITION, "A", 1, 0),
        Gap(Kind.POSITION, "B", 2, -2),
        Gap(Kind.POSITION, "C", 0, 3),
    ]


def test_cash_that_nobody_can_say_is_not_compared() -> None:
    assert compare(Holding(5, {}), Holding(None, {})) == []
    assert together([Holding(5, {"A": 1}), Holding(None, {"A": -1})]) == Holding(None, {})


class Books:
    """One portfolio traded at random; its own ledger, beside what an engine and a ledger table would have of it."""

    def __init__(self, market: str, seed: int, steps: int) -> None:
        chance, rules = random.Random(seed), rules_for(market)
        self.rules = rules
        self.initial = 10**10
        self.ledger = Ledger(initial=self.initial, cash=self.initial)
        self.sums: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        self.adjusted: list[Adjusted] = []
        for _ in range(steps):
            code = chance.choice(CODES[market])
            held = self.ledger.positions.get(code)
            volume = chance.randint(1, 9) * 100
            direction = chance.choice([1, -1]) if rules.shorting or (held and held.volume >= volume) else 1
            price = chance.randint(1, 10**6)
            margin: dict[str, Any] = {
                "multiplier": rules.multiplier(code),
                "margin_rate": rules.margin_rate(code),
            }
            what = chance.random()
            if what < 0.7:
                amount, fees = volume * price * rules.multiplier(code), chance.randint(0, 10**5)
                self.ledger.fill(code, direction, volume, amount, fees, **margin)
                for i, each in enumerate((volume, amount, fees)):
                    self.sums[code, direction][i] += each
            elif what < 0.85:
                cash = chance.randint(-(10**6), 10**6)
                self.ledger.adjust_cash(cash)
                self.adjusted.append(Adjusted(cash))
            else:
                before = self.ledger.cash
                self.ledger.adjust_position(code, direction * volume, price, *margin.values())
                self.adjusted.append(Adjusted(self.ledger.cash - before, code, direction * volume, price))

    def expected(self) -> Holding:
        trades = [Trade(code, direction, *sums) for (code, direction), sums in self.sums.items()]
        rules = self.rules
        return implied(
            self.initial, trades, self.adjusted, lambda code: rules.multiplier(code) if rules.margin_rate(code) else 0
        )

    def actual(self) -> Holding:
        at_entry = sum(each.cost for each in self.ledger.positions.values() if each.margin_rate)
        return Holding(self.ledger.cash - at_entry, {c: p.volume for c, p in self.ledger.positions.items()})


@pytest.mark.parametrize("market", CODES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 60))
def test_in_every_market_fills_and_adjustments_make_what_the_kernels_ledger_holds(
    market: str, seed: int, steps: int
) -> None:
    books = Books(market, seed, steps)
    assert compare(books.expected(), books.actual()) == []


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cash=st.integers(-(10**6), 10**6),
    volume=st.integers(-(10**4), 10**4),
    market=st.sampled_from(sorted(CODES)),
)
def test_whatever_is_wrong_is_found_in_its_size_and_nothing_else(
    seed: int, cash: int, volume: int, market: str
) -> None:
    books = Books(market, seed, 30)
    code = CODES[market][0]
    right = books.actual()
    positions = {**right.positions, code: right.positions.get(code, 0) + volume}
    assert right.cash is not None
    found = compare(books.expected(), Holding(right.cash + cash, {c: v for c, v in positions.items() if v}))
    assert [(gap.kind, gap.code, gap.size) for gap in found] == [
        *([(Kind.CASH, "", cash)] if cash else []),
        *([(Kind.POSITION, code, volume)] if volume else []),
    ]


def rounds(*sizes: int | None) -> tuple[list[bool], dict[Key, Standing]]:
    """Whether each of successive comparisons alerted, of which each found a difference of this size (None: none)."""
    alerted, standing = [], dict[Key, Standing]()
    for number, size in enumerate(sizes):
        found = {} if size is None else {KEY: Gap(Kind.POSITION, "A", 0, size)}
        verdict = judge(standing, found, {("portfolio", "p")}, NOW + timedelta(seconds=number))
        standing = verdict.standing
        alerted.append(verdict.alerts == [KEY])
    return alerted, standing


def test_a_difference_is_alerted_when_two_successive_comparisons_find_it_and_once() -> None:
    alerted, standing = rounds(5, 5, 5, 5)
    assert alerted == [False, True, False, False]
    assert standing == {KEY: Standing(NOW, 5, 5)}


def test_what_only_one_comparison_finds_was_in_flight() -> None:
    assert rounds(5, None, 7, None) == ([False] * 4, {})


def test_one_that_has_become_another_is_alerted_once_more_when_it_stands() -> None:
    assert rounds(5, 5, 8, 8, 8)[0] == [False, True, False, True, False]
    assert rounds(5, 5, 8, 9, 10, 5)[0] == [False, True, False, False, False, False]


def test_one_that_changes_all_the_time_is_alerted_too() -> None:
    assert rounds(5, 6, 7)[0] == [False, True, False]


def test_one_that_is_gone_is_over_and_a_new_one_begins_anew() -> None:
    standing = {KEY: Standing(NOW, 5, 5)}
    verdict = judge(standing, {}, {("portfolio", "p")}, NOW)
    assert (verdict.over, verdict.standing) == ([KEY], {})
    assert rounds(5, 5, None, 5, 5)[0] == [False, True, False, False, True]


def test_what_could_not_be_compared_stays_as_it_was() -> None:
    standing = {KEY: Standing(NOW, 5), KEY._replace(owner="q"): Standing(NOW, 5, 5)}
    verdict = judge(standing, {}, {("portfolio", "q")}, NOW)
    assert verdict.standing == {KEY: Standing(NOW, 5)}
    assert verdict.over == [KEY._replace(owner="q")]
