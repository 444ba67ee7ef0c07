from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from nodes import reconciler
from nodes.reconciler import Owned, Reconciler, Running, Steps, compare
from portfolios.models import Adjustment, Assignment, Portfolio


def owned(epoch: int = 3, desired: str = "running", version: int = 1) -> dict[str, Owned]:
    return {"a": Owned(epoch, desired, version)}


def running(epoch: int = 3, version: int = 1, ended: bool = False) -> dict[str, Running]:
    return {"a": Running(epoch, version, ended)}


def test_what_is_owned_and_run_needs_nothing() -> None:
    assert compare(owned(), running()) == Steps()


def test_what_is_owned_and_not_run_is_started_at_its_epoch() -> None:
    assert compare(owned(epoch=7), {}) == Steps(start=(("a", 7),))


def test_what_is_run_and_not_owned_is_discarded() -> None:
    assert compare({}, running()) == Steps(discard=("a",))


def test_what_is_owned_at_another_epoch_is_discarded_first_and_started_when_it_has_ended() -> None:
    assert compare(owned(epoch=4), running(epoch=3)) == Steps(discard=("a",))
    assert compare(owned(epoch=4), running(epoch=3, ended=True)) == Steps(forget=("a",))
    assert compare(owned(epoch=4), {}) == Steps(start=(("a", 4),))


def test_what_its_user_stopped_is_stopped() -> None:
    assert compare(owned(desired="stopped"), running()) == Steps(stop=("a",))


def test_a_newer_version_is_a_reload() -> None:
    assert compare(owned(version=2), running(version=1)) == Steps(reload=("a",))


def test_one_that_is_still_starting_takes_the_newest_version_by_itself() -> None:
    assert compare(owned(version=2), running(version=0)) == Steps()


def test_one_that_was_stopped_before_it_was_started_is_given_back_by_its_start() -> None:
    assert compare(owned(desired="stopped"), {}) == Steps(start=(("a", 3),))


def test_one_that_could_not_be_made_is_not_tried_again_as_it_is() -> None:
    assert compare(owned(epoch=3, version=1), {}, {"a": (3, 1)}) == Steps()


@pytest.mark.parametrize("refused", [(2, 1), (3, 0)])
def test_one_that_could_not_be_made_is_tried_again_at_a_new_epoch_or_version(refused: tuple[int, int]) -> None:
    assert compare(owned(epoch=3, version=1), {}, {"a": refused}).start == (("a", 3),)


def test_one_that_could_not_be_made_is_given_back_when_its_user_stops_it() -> None:
    assert compare(owned(desired="stopped"), {}, {"a": (3, 1)}).start == (("a", 3),)


def test_starts_come_in_one_order() -> None:
    rows = {name: Owned(1, "running", 1) for name in "cab"}
    assert [name for name, _ in compare(rows, {}).start] == ["a", "b", "c"]


@pytest.mark.django_db
def test_a_step_reads_what_the_node_owns_and_carries_it_out() -> None:
    user = User.objects.create_user("t")
    for name, node in (("mine", "n1"), ("other", "n2")):
        portfolio = Portfolio.objects.create(
            id=name, name=name, owner=user, initial_cash=1, config={}, desired_state="running", version=4
        )
        Assignment.objects.create(portfolio=portfolio, node_id=node, epoch=9)
    seen: list[Steps] = []
    assert Reconciler("n1", 5, dict, seen.append).step()
    assert seen == [Steps(start=(("mine", 9),))]
    assert reconciler.owned_by("n1") == {"mine": Owned(9, "running", 4)}


def test_a_database_that_is_away_changes_nothing_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Steps] = []
    one = Reconciler("n1", 5, dict, seen.append)

    def away(_node_id: str) -> dict[str, Owned]:
        raise OperationalError("gone away")

    monkeypatch.setattr(reconciler, "owned_by", away)
    assert not one.step()
    assert (seen, one.reachable) == ([], False)
    monkeypatch.setattr(reconciler, "owned_by", lambda _node_id: {})
    assert one.step()
    assert one.reachable


def test_the_thread_compares_when_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import eventually

    seen: list[Steps] = []
    monkeypatch.setattr(reconciler, "owned_by", lambda _node_id: {})
    one = Reconciler("n1", 3600, dict, seen.append)
    one.start()
    try:
        eventually(lambda: len(seen) == 1, saying="the first comparison")
        one.wake()
        eventually(lambda: len(seen) == 2, saying="the second comparison")
    finally:
        one.request_stop()
        one.join(5)
    assert not one.is_alive()
    assert not one.died


def test_what_is_left_for_later_is_looked_at_then_and_not_at_the_next_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.support import eventually

    at: list[float] = []

    def leave_for_later(_steps: Steps) -> None:
        at.append(time.monotonic())
        one.wake_in(0.2 if len(at) == 1 else 3600)

    monkeypatch.setattr(reconciler, "owned_by", lambda _node_id: {})
    one = Reconciler("n1", 3600, dict, leave_for_later)
    one.start()
    try:
        eventually(lambda: len(at) == 2, saying="the second comparison")
        assert at[1] - at[0] >= 0.2
    finally:
        one.request_stop()
        one.join(5)


def test_what_is_to_be_adjusted_is_after_its_reload() -> None:
    asked = {"a": Owned(3, "running", 2, adjusting=True)}
    assert compare(asked, running(version=1)) == Steps(reload=("a",))
    assert compare(asked, running(version=2)) == Steps(adjust=("a",))


@pytest.mark.django_db
def test_a_deposit_that_waits_is_seen() -> None:
    user = User.objects.create_user("t")
    portfolio = Portfolio.objects.create(id="p", name="p", owner=user, initial_cash=1, config={})
    Assignment.objects.create(portfolio=portfolio, node_id="n1", epoch=9)
    asked = Adjustment.objects.create(portfolio=portfolio, kind="deposit", amount=1, reason="r", author=user)
    assert reconciler.owned_by("n1")["p"].adjusting
    Adjustment.objects.filter(pk=asked.pk).update(state="applied")
    assert not reconciler.owned_by("n1")["p"].adjusting
