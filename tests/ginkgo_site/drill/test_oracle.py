"""The drills' judge must be able to find what it looks for."""

from __future__ import annotations

import io
from typing import cast

import pytest
from rich.console import Console

from ginkgo_site.drill.feed import OPENING
from ginkgo_site.drill.oracle import Sent, longest_pause, stale
from ginkgo_site.drill.outcome import Outcome, Timed
from ginkgo_site.drill.report import show
from ginkgo_site.drill.tally import TallyStrategy
from tests.portfolios.kernel.harness import tick


def test_an_order_of_an_earlier_epoch_that_is_taken_in_after_one_of_a_later_is_a_stale_owners() -> None:
    assert stale(["a", "b", "c"], {"a": 1, "b": 2, "c": 1}) == 1
    assert stale(["a", "b", "c"], {"a": 1, "b": 2}) == 0, "what was not taken in did no harm"


def test_an_order_that_its_next_owner_sends_again_is_not_stale() -> None:
    assert stale(["b", "a"], {"a": 2, "b": 2}) == 0


def test_a_pause_is_between_two_new_orders_of_one_portfolio() -> None:
    log = [Sent("p", "a", 10.0), Sent("p", "a", 12.0), Sent("p", "b", 14.5), Sent("q", "x", 30.0)]
    assert longest_pause(log) == 4.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages_lost": 1}, {"messages_twice": 1}, {"orders_lost": 1}, {"orders_twice": 1}, {"orders_ghost": 1},
        {"orders_unlogged": 1}, {"stale_orders": 1}, {"books_wrong": 1}, {"timed": [Timed("failover", 9.0, 8.0)]},
        {"failed": True}, {"orders": 0}, {"messages": 0},
    ],
)  # fmt: skip
def test_whatever_is_wrong_fails_the_drill(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"name": "x", "orders": 10, "messages": 100}
    assert Outcome(**right).passed  # type: ignore[arg-type]
    assert Outcome(**(right | wrong)).passed is False  # type: ignore[arg-type]


def test_what_was_not_run_has_neither_passed_nor_failed() -> None:
    skipped = Outcome(name="x", skipped="there is no MySQL here")
    assert skipped.passed is None
    assert skipped.document()["passed"] is None


def test_the_table_says_skipped_and_how_many_failures_were_injected() -> None:
    console = Console(file=io.StringIO(), width=80)
    outcomes = [Outcome(name=f"chaos:{n}:3", orders=1, messages=1, injected=20 + n) for n in (1, 2)]
    show([Outcome(name="node-mysql", skipped="there is no MySQL here"), *outcomes], console)
    said = cast(io.StringIO, console.file).getvalue()
    assert "skipped" in said and said.count(" yes ") == 2
    assert "43 failures injected at random, by 2 seeds" in said


def test_the_witness_counts_what_never_came_and_what_came_twice() -> None:
    strategy = TallyStrategy(TallyStrategy.Params(every=1000))
    memory = strategy.start()
    for number in (1, 2, 2, 5, 4, 6):
        strategy.on_price(memory, tick(100, OPENING, "D1.US", bid_volume=number))
    assert (memory.newest, memory.told, memory.twice, memory.missing) == (6, 6, 2, 2)
