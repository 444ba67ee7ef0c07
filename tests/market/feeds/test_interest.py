"""Whose interest counts, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from market.feeds.interest import InterestBook
from market.messages import InterestUpdate


def _update(node: str, **what: Any) -> InterestUpdate:
    return InterestUpdate(timestamp=datetime.now(UTC), node_id=node, **what)


def test_interest_is_the_union_over_the_nodes() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X", "Y"]), 0.0)
    book.hear(_update("b", added=["Y", "Z"]), 0.0)
    assert book.wanted() == {"X", "Y", "Z"}


def test_a_change_adds_and_removes_of_one_node_only() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X", "Y"]), 0.0)
    book.hear(_update("b", full=True, codes=["Y"]), 0.0)
    book.hear(_update("a", added=["Z"], removed=["X", "Y"]), 1.0)
    book.hear(_update("b", full=True, codes=["Y"]), 602.0)
    book.hear(_update("a"), 602.0)
    book.forget_the_old(602.0)
    assert book.wanted() == {"Y", "Z"}


def test_what_a_node_has_given_back_is_wanted_until_its_next_owner_says_so() -> None:
    """Stopped in order, restarted after an error, moved: its source says `removed` before its target says `added`."""
    book = InterestBook()
    book.hear(_update("source", full=True, codes=["X", "Y"]), 0.0)
    book.hear(_update("source", removed=["X"]), 10.0)
    assert book.wanted() == {"X", "Y"}
    book.hear(_update("target", added=["X"]), 300.0)
    book.hear(_update("source", full=True, codes=["Y"]), 605.0)
    book.hear(_update("target", full=True, codes=["X"]), 605.0)
    book.forget_the_old(611.0)
    assert book.wanted() == {"X", "Y"}


def test_a_full_interest_without_a_code_withdraws_it_like_a_change() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X"]), 0.0)
    book.hear(_update("a", full=True, codes=["Y"]), 1.0)
    assert book.wanted() == {"X", "Y"}
    book.hear(_update("a", full=True), 2.0)
    assert book.wanted() == {"X", "Y"}


def test_what_was_withdrawn_ten_minutes_ago_nobody_wants_however_often_it_is_left_out() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X", "Y"]), 0.0)
    book.hear(_update("a", full=True, codes=["Y"]), 1.0)
    for minute in range(1, 11):
        book.hear(_update("a", full=True, codes=["Y"]), minute * 60.0)
    book.forget_the_old(601.0)
    assert book.wanted() == {"X", "Y"}
    book.forget_the_old(601.1)
    assert book.wanted() == {"Y"}


def test_interest_outlives_its_node_by_ten_minutes() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X"]), 0.0)
    book.forget_the_old(600.0)
    assert book.wanted() == {"X"}
    book.forget_the_old(600.1)
    assert book.wanted() == set()
