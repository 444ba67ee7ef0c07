"""On a real database; only the producer and the clock are the test's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections

from nodes.checkpointer import Checkpointer, Request, merge
from nodes.lease import Lease
from nodes.sender import Sender
from portfolios import checkpoints
from portfolios.kernel.orders import Order
from portfolios.models import Assignment, Checkpoint, LedgerEntry, Portfolio
from tests.nodes.support import MORNING, Alerts, Clock, KeepingProducer, save
from tests.support import eventually


def order(name: str, portfolio_id: str = "p1") -> Order:
    return Order(
        order_id=name, portfolio_id=portfolio_id, code="600519.SH", direction=1, order_type="market", volume=100,
        price=None, cause="t:0:1:0", timestamp=MORNING,
    )  # fmt: skip


def entry(portfolio_id: str, pseq: int) -> LedgerEntry:
    return LedgerEntry(
        portfolio_id=portfolio_id, pseq=pseq, order_id="o", code="600519.SH", direction=1, volume=100,
        price=Decimal(10), fees=Decimal(5), cash_change=Decimal(-1005), event_time=MORNING,
    )  # fmt: skip


# -- merging -----------------------------------------------------------------------------------------------------------


def test_merged_the_newer_state_carries_the_orders_and_ledger_rows_of_both() -> None:
    older = Request(save("p1", state=b"1", ledger=(entry("p1", 1),)), (order("o1"),))
    newer = Request(save("p1", state=b"2", ledger=(entry("p1", 2),)), (order("o2"),))
    merged = merge(older, newer)
    assert merged.save.state == b"2"
    assert [row.pseq for row in merged.save.ledger] == [1, 2]
    assert [intent.order_id for intent in merged.intents] == ["o1", "o2"]


def test_merged_both_hear_of_the_commit() -> None:
    heard: list[str] = []
    merged = merge(
        Request(save("p1"), on_committed=(lambda: heard.append("older"),)),
        Request(save("p1"), on_committed=(lambda: heard.append("newer"),)),
    )
    for tell in merged.on_committed:
        tell()
    assert heard == ["older", "newer"]


def test_merged_the_older_state_is_let_go_however_many_there_were() -> None:
    states = [bytes(100 + n) for n in range(2000)]
    requests = [Request(save("p1", state=state), on_committed=(list,)) for state in states]
    merged = reduce(merge, requests)
    del requests
    assert len(merged.on_committed) == 2000
    # The list, its slice, the loop, the call: nobody else.
    assert {sys.getrefcount(state) for state in states[:-1]} == {4}


# -- writing -----------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.lease = Lease(30, self.clock)
        self.lease.renew(self.clock.now)
        self.producer = KeepingProducer()
        self.alerts = Alerts()
        self.checkpointer = Checkpointer("c", Sender(self.producer, self.lease), self.alerts.alerter)  # type: ignore[arg-type]
        self.heard: list[str] = []

    def request(self, portfolio_id: str, epoch: int = 1, *orders: str, **changes: Any) -> Request:
        def hear(what: str) -> Callable[..., None]:
            return lambda *_: self.heard.append(f"{what} {portfolio_id}")

        return Request(
            save(portfolio_id, epoch, **changes), tuple(order(name, portfolio_id) for name in orders),
            (hear("committed"),), hear("lost"), hear("failed"), hear("held"), hear("refused"),
        )  # fmt: skip

    @property
    def sent(self) -> list[str]:
        return [key for _, key, _ in self.producer.messages]


@pytest.fixture
def bench(db: None) -> Bench:
    user = User.objects.create_user("t")
    for name in ("p1", "p2", "p3"):
        portfolio = Portfolio.objects.create(id=name, name=name, owner=user, initial_cash=1, config={})
        Assignment.objects.create(portfolio=portfolio, node_id="n", epoch=1)
        Checkpoint.objects.create(portfolio=portfolio, epoch=1)
    return Bench()


def state_of(portfolio_id: str) -> bytes:
    return bytes(Checkpoint.objects.get(portfolio_id=portfolio_id).state)


def test_what_is_due_is_written_and_then_sent(bench: Bench) -> None:
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"new"))
    assert bench.sent == []
    assert bench.checkpointer.step()
    assert state_of("p1") == b"new"
    assert bench.sent == ["p1"]
    assert bench.heard == ["committed p1"]


def test_at_the_moment_of_sending_the_checkpoint_is_in_the_database(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bytes] = []
    produce = bench.producer.produce

    def look(*args: Any, **kwargs: Any) -> None:
        found.append(state_of("p1"))
        produce(*args, **kwargs)

    monkeypatch.setattr(bench.producer, "produce", look)
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"holds o1"))
    bench.checkpointer.step()
    assert found == [b"holds o1"]


def test_two_that_wait_are_one_write(bench: Bench) -> None:
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"1"))
    bench.checkpointer.submit(bench.request("p1", 1, "o2", state=b"2"))
    bench.checkpointer.step()
    assert bench.checkpointer.written == 1
    assert state_of("p1") == b"2"
    assert bench.sent == ["p1", "p1"]


def test_large_states_are_written_a_few_at_a_time_those_that_wait_longest_first(bench: Bench) -> None:
    large, small = b"1" * 1_500_000, b"2" * 400_000
    for portfolio_id, state in (("p1", large), ("p2", small), ("p3", small)):
        bench.checkpointer.submit(bench.request(portfolio_id, 1, "o", state=state))
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=large))  # it keeps its place
    assert bench.checkpointer.step()
    assert bench.heard == ["committed p1", "committed p1", "committed p2"]
    assert state_of("p3") == b""
    assert bench.checkpointer.step()
    assert bench.checkpointer.step()
    assert bench.heard[3:] == ["committed p3"]
    assert bench.checkpointer.written == 2


def test_one_that_is_larger_than_a_statement_should_be_is_written_alone(bench: Bench) -> None:
    for portfolio_id in ("p1", "p2"):
        bench.checkpointer.submit(bench.request(portfolio_id, 1, state=b"1" * 3_000_000))
    bench.checkpointer.step()
    assert bench.heard == ["committed p1"]
    bench.checkpointer.step()
    assert bench.heard == ["committed p1", "committed p2"]


def test_of_a_lost_portfolio_nothing_is_written_or_sent_and_the_others_go(bench: Bench) -> None:
    Checkpoint.objects.filter(portfolio_id="p2").update(epoch=2)
    for name in ("p1", "p2", "p3"):
        bench.checkpointer.submit(bench.request(name, 1, f"o-{name}", state=b"new", ledger=(entry(name, 1),)))
    assert bench.checkpointer.step()
    assert [state_of(name) for name in ("p1", "p2", "p3")] == [b"new", b"", b"new"]
    assert set(LedgerEntry.objects.values_list("portfolio_id", flat=True)) == {"p1", "p3"}
    assert bench.sent == ["p1", "p3"]
    assert "lost p2" in bench.heard
    assert "committed p2" not in bench.heard


def test_past_the_lease_the_checkpoint_is_written_and_its_orders_are_held(bench: Bench) -> None:
    bench.clock.now += 26
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"new"))
    bench.checkpointer.step()
    assert state_of("p1") == b"new"
    assert bench.sent == []
    assert bench.heard == ["held p1", "committed p1"]


def test_frozen_between_commit_and_send_it_sends_nothing_when_it_wakes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is over and, by the heartbeat's thread, renewed before this thread runs again."""

    def freeze(saves: Any, now: datetime) -> set[str]:
        lost = real(saves, now)
        bench.clock.now += 26
        bench.lease.renew(bench.clock.now)
        return lost

    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", freeze)
    bench.checkpointer.submit(bench.request("p1", 1, "o1"))
    bench.checkpointer.step()
    assert bench.lease.valid
    assert bench.sent == []
    assert "held p1" in bench.heard


def away(saves: Any, now: datetime) -> set[str]:
    raise OperationalError("server has gone away")


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_nothing_is_sent_and_afterwards_nothing_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", away)
        bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"1"))
        bench.checkpointer.submit(bench.request("p2", 1, "o2"))
        assert not bench.checkpointer.step()
        assert not bench.checkpointer.healthy.is_set()
        assert bench.sent == []
        assert bench.alerts.types == ["database_unavailable"]
    bench.checkpointer.submit(bench.request("p1", 1, "o3", state=b"2"))
    assert bench.checkpointer.step()
    assert bench.checkpointer.works
    assert sorted(bench.sent) == ["p1", "p1", "p2"]
    assert state_of("p1") == b"2"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("packet too large"), ValueError("not a number")])
def test_one_that_cannot_be_written_keeps_no_other_from_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(saves: Any, now: datetime) -> set[str]:
        if any(s.portfolio_id == "p2" for s in saves):
            raise error
        return real(saves, now)

    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", refuse)
    for name in ("p1", "p2", "p3"):
        bench.checkpointer.submit(bench.request(name, 1, f"o-{name}"))
    bench.checkpointer.step()
    assert bench.sent == ["p1", "p3"]
    assert bench.checkpointer.healthy.is_set()
    assert ("refused p2" in bench.heard) == isinstance(error, ValueError)


def test_a_write_that_takes_too_long_counts_as_none(bench: Bench) -> None:
    assert bench.checkpointer.works
    bench.checkpointer.writing_since = 0.0
    assert not bench.checkpointer.works


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle(bench: Bench) -> Bench:
    """Its thread has shared its connection, and waits."""
    bench.checkpointer._connection.share()
    return bench


def test_where_nobody_else_writes_a_checkpoint_with_an_order_is_written_at_once(idle: Bench) -> None:
    idle.checkpointer.submit(idle.request("p1", 1, "o1", state=b"new"))
    assert state_of("p1") == b"new"
    assert idle.sent == ["p1"]
    assert idle.heard == ["committed p1"]
    assert idle.checkpointer.writing_since is None
    idle.checkpointer.forget("p1")  # finds nothing to wait for


def test_one_without_an_order_can_wait(idle: Bench) -> None:
    idle.checkpointer.submit(idle.request("p1", 1, state=b"new"))
    assert state_of("p1") == b""


def test_it_overtakes_nothing_that_is_due(idle: Bench) -> None:
    idle.checkpointer.submit(idle.request("p1", 1, state=b"1"))
    idle.checkpointer.submit(idle.request("p1", 1, "o1", state=b"2"))
    assert state_of("p1") == b""
    idle.checkpointer.step()
    assert (state_of("p1"), idle.sent) == (b"2", ["p1"])


def slow(checkpointer: Checkpointer) -> None:
    checkpointer.last_write_seconds = 0.02


@pytest.mark.parametrize(
    "hinder",
    [
        slow,
        lambda checkpointer: checkpointer._pen.acquire(),
        lambda checkpointer: checkpointer.healthy.clear(),
        lambda checkpointer: checkpointer.request_stop(),
    ],
    ids=["a slow database", "another write", "a database that is away", "its end"],
)
def test_otherwise_it_is_the_threads_to_write(idle: Bench, hinder: Callable[[Checkpointer], object]) -> None:
    hinder(idle.checkpointer)
    idle.checkpointer.submit(idle.request("p1", 1, "o1", state=b"new"))
    assert state_of("p1") == b""
    if idle.checkpointer._pen.locked():
        idle.checkpointer._pen.release()
    idle.checkpointer.step()
    assert (state_of("p1"), idle.sent) == (b"new", ["p1"])


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_written_at_once_is_due_and_no_other_goes_before_it(
    idle: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", away)
        idle.checkpointer.submit(idle.request("p1", 1, "o1", state=b"1"))
    assert not idle.checkpointer.healthy.is_set()
    idle.checkpointer.submit(idle.request("p2", 1, "o2"))
    assert idle.sent == []
    idle.checkpointer.step()
    assert idle.sent == ["p1", "p2"]


@pytest.mark.django_db(transaction=True)
def test_however_many_write_at_once_they_need_one_connection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, int] = {}

    def see(saves: Any, now: datetime) -> set[str]:
        lost = real(saves, now)
        used[threading.current_thread().name] = id(connections["default"].connection)
        return lost

    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", see)
    checkpointer = bench.checkpointer
    checkpointer.start()
    try:
        eventually(lambda: checkpointer._connection.there)
        for name in ("p1", "p2", "p3"):

            def submit(name: str = name) -> None:
                mine = connections["default"]
                checkpointer.submit(bench.request(name, 1, f"o-{name}", state=b"new"))
                assert connections["default"] is mine
                assert mine.connection is None

            thread = threading.Thread(target=submit, name=name)
            thread.start()
            thread.join(10)
        eventually(lambda: len(bench.sent) == 3)
    finally:
        checkpointer.request_stop()
        checkpointer.join(10)
    assert {"p1", "p2", "p3"} & set(used), "one or another may find the thread at it"
    assert len(set(used.values())) == 1
    assert [state_of(name) for name in ("p1", "p2", "p3")] == [b"new"] * 3


def test_the_thread_does_not_end_while_a_portfolio_writes_by_its_connection(bench: Bench) -> None:
    checkpointer = bench.checkpointer
    with checkpointer._pen:
        checkpointer.request_stop()
        checkpointer.start()
        eventually(lambda: checkpointer._connection.there)
        checkpointer.join(0.3)
        assert checkpointer.is_alive()
    checkpointer.join(10)
    assert not checkpointer.is_alive()


# -- forgetting --------------------------------------------------------------------------------------------------------


def test_what_is_forgotten_is_neither_written_nor_sent(bench: Bench) -> None:
    bench.checkpointer.submit(bench.request("p1", 1, "o1", state=b"new"))
    bench.checkpointer.forget("p1")
    bench.checkpointer.step()
    assert state_of("p1") == b""
    assert bench.sent == []


@pytest.mark.django_db(transaction=True)
def test_when_all_that_could_not_be_written_is_forgotten_it_finds_out_by_itself_that_the_database_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its portfolios hold still until it is: without a checkpoint that is due they would for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", away)
        bench.checkpointer.submit(bench.request("p1", 1, "o1"))
        assert not bench.checkpointer.step()
        bench.checkpointer.forget("p1")
    assert not bench.checkpointer.healthy.is_set()
    assert bench.checkpointer.step()
    assert bench.checkpointer.healthy.is_set()


@pytest.mark.parametrize("outcome", ["committed", "away"])
def test_forgetting_waits_for_a_write_under_way_and_nothing_of_it_comes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """A portfolio that restores its checkpoint must not find it replaced by its discarded life's a moment later."""
    begun, go_on, forgotten = threading.Event(), threading.Event(), threading.Event()

    def slow(saves: Any, now: datetime) -> set[str]:
        begun.set()
        assert go_on.wait(10)
        if outcome == "away":
            raise OperationalError("server has gone away")
        return set()

    monkeypatch.setattr(checkpoints, "save", slow)
    bench.checkpointer.submit(bench.request("p1", 1, "o1"))
    writer = threading.Thread(target=bench.checkpointer.step)
    writer.start()
    assert begun.wait(10)

    def forget() -> None:
        bench.checkpointer.forget("p1")
        forgotten.set()

    discarding = threading.Thread(target=forget)
    discarding.start()
    eventually(lambda: bench.checkpointer._forgotten == {"p1"}, saying="the wait for the write")
    assert not forgotten.is_set()
    go_on.set()
    writer.join(10)
    discarding.join(10)
    assert forgotten.is_set()
    sent = len(bench.sent)
    monkeypatch.setattr(checkpoints, "save", lambda saves, now: set())
    bench.checkpointer.step()
    assert len(bench.sent) == sent == (1 if outcome == "committed" else 0)


def test_the_thread_writes_what_is_due_before_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "save", lambda saves, now: set())
    bench.checkpointer.submit(bench.request("p1", 1, "o1"))
    bench.checkpointer.request_stop()
    bench.checkpointer.start()
    bench.checkpointer.join(10)
    assert bench.heard == ["committed p1"]


def test_stopping_without_a_database_it_tries_once_and_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "save", away)
    bench.checkpointer.submit(bench.request("p1", 1, "o1"))
    bench.checkpointer.request_stop()
    bench.checkpointer.start()
    bench.checkpointer.join(10)
    assert not bench.checkpointer.is_alive()
    assert bench.sent == []
