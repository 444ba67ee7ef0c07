"""On a real database: SQLite, or the MariaDB of `make test-servers`."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from portfolios import checkpoints
from portfolios.checkpoints import Save
from portfolios.models import Assignment, Checkpoint, Portfolio
from portfolios.ownership import NOBODY, Ownership, hand_over, owned_by

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def portfolio() -> None:
    user = User.objects.create_user("t")
    for name, node in (("p1", "n1"), ("p2", "n1"), ("p3", NOBODY)):
        made = Portfolio.objects.create(id=name, name=name, owner=user, initial_cash=1, config={})
        Assignment.objects.create(portfolio=made, node_id=node, epoch=5)
        Checkpoint.objects.create(portfolio=made, epoch=5, state=b"old")


def rows(portfolio_id: str = "p1") -> tuple[str, int, int]:
    assignment = Assignment.objects.get(portfolio_id=portfolio_id)
    return assignment.node_id, assignment.epoch, Checkpoint.objects.get(portfolio_id=portfolio_id).epoch


def test_a_node_owns_what_the_rows_say() -> None:
    assert sorted(each.portfolio_id for each in owned_by("n1")) == ["p1", "p2"]
    assert owned_by("n2") == []


def test_it_moves_the_epoch_in_both_rows() -> None:
    assert hand_over(Ownership("p1", "n1", 5), "n2", "because") == Ownership("p1", "n2", 6)
    assert rows() == ("n2", 6, 6)
    assert Assignment.objects.get(portfolio_id="p1").reason == "because"
    assert rows("p2") == ("n1", 5, 5)


def test_to_itself_is_a_new_epoch_too() -> None:
    assert hand_over(Ownership("p1", "n1", 5), "n1", "started anew") == Ownership("p1", "n1", 6)


@pytest.mark.parametrize("read", [Ownership("p1", "n1", 4), Ownership("p1", "n2", 5), Ownership("nobody's", "n1", 5)])
def test_what_is_not_as_it_was_read_is_left_alone(read: Ownership) -> None:
    assert hand_over(read, "n9", "late") is None
    assert rows() == ("n1", 5, 5)


def test_the_last_checkpoint_and_the_hand_over_are_one() -> None:
    last = Save("p1", 5, b"new", 3, {}, {}, 1, 0)

    assert hand_over(
        Ownership("p1", "n1", 5), "n2", "moved", lambda: not checkpoints.save([last], timezone.now())
    ) == Ownership("p1", "n2", 6)
    assert bytes(Checkpoint.objects.get(portfolio_id="p1").state) == b"new"
    assert rows() == ("n2", 6, 6)


def test_a_last_checkpoint_that_fails_keeps_everything_as_it_was() -> None:
    assert hand_over(Ownership("p1", "n1", 5), "n2", "moved", lambda: False) is None
    assert rows() == ("n1", 5, 5)


def test_a_hand_over_that_is_too_late_takes_its_last_checkpoint_back() -> None:
    def write() -> bool:
        Checkpoint.objects.filter(portfolio_id="p1").update(state=b"of a stale owner")
        return True

    assert hand_over(Ownership("p1", "n1", 4), "n2", "late", write) is None
    assert bytes(Checkpoint.objects.get(portfolio_id="p1").state) == b"old"


def test_an_error_in_the_last_checkpoint_changes_nothing() -> None:
    def fail() -> bool:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        hand_over(Ownership("p1", "n1", 5), "n2", "moved", fail)
    assert rows() == ("n1", 5, 5)


def test_the_old_owners_next_checkpoint_is_lost() -> None:
    hand_over(Ownership("p1", "n1", 5), "n2", "taken")
    assert checkpoints.save([Save("p1", 5, b"stale", 0, {}, {}, 1, 0)], timezone.now()) == {"p1"}
    assert bytes(Checkpoint.objects.get(portfolio_id="p1").state) == b"old"


def test_of_several_who_want_it_at_once_one_gets_it() -> None:
    together = threading.Barrier(4)
    won: list[Ownership] = []

    def take(node_id: str) -> None:
        try:
            together.wait(10)
            taken = hand_over(Ownership("p3", NOBODY, 5), node_id, "mine")
            if taken is not None:
                won.append(taken)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(f"n{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(won) == 1
    assert rows("p3") == (won[0].node_id, 6, 6)
