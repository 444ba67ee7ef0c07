from __future__ import annotations

from nodes.interest import InterestMap
from nodes.subscription import Subscription


def wants(portfolio_id: str, *codes: str) -> Subscription:
    return Subscription(portfolio_id, frozenset(c.encode() for c in codes), "catch_up", 10, lambda: None)


def test_a_key_leads_to_all_who_want_it() -> None:
    interest = InterestMap()
    a, b = wants("a", "600519.SH", "000001.SZ"), wants("b", "600519.SH")
    interest.add(a)
    interest.add(b)
    assert set(interest.wanted[b"600519.SH"]) == {a, b}
    assert interest.wanted[b"000001.SZ"] == (a,)
    assert b"000002.SZ" not in interest.wanted
    assert interest.keys() == ["000001.SZ", "600519.SH"]


def test_the_same_portfolio_again_takes_the_place_of_the_earlier_one() -> None:
    interest = InterestMap()
    interest.add(wants("a", "600519.SH"))
    newer = wants("a", "000001.SZ")
    interest.add(newer)
    assert interest.wanted == {b"000001.SZ": (newer,)}
    assert list(interest.subscriptions()) == [newer]


def test_whoever_holds_the_map_keeps_the_one_it_took() -> None:
    interest = InterestMap()
    interest.add(wants("a", "600519.SH"))
    taken = interest.wanted
    interest.remove("a")
    assert b"600519.SH" in taken
    assert interest.wanted == {}


def test_removing_what_is_not_there_changes_nothing() -> None:
    interest = InterestMap()
    interest.remove("nobody")
    assert interest.keys() == []
