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
    assert book.wanted() == {"Y", "Z"}


def test_full_interest_replaces_what_was_known() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X"]), 0.0)
    book.hear(_update("a", full=True, codes=["Y"]), 1.0)
    assert book.wanted() == {"Y"}


def test_interest_outlives_its_node_by_ten_minutes() -> None:
    book = InterestBook()
    book.hear(_update("a", full=True, codes=["X"]), 0.0)
    book.forget_the_dead(600.0)
    assert book.wanted() == {"X"}
    book.forget_the_dead(600.1)
    assert book.wanted() == set()
