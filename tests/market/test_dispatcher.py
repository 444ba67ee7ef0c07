"""Commands as they come, again, too late, for nobody: what is executed, and what the command log says of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, InterfaceError, OperationalError, connection

from market import dispatcher
from market.dispatcher import Dispatcher, Order, Refused, insist, order_of
from market.messages import ControlCommand
from portfolios.models import Assignment, Command, Portfolio
from portfolios.models.command import CommandState

SECOND = timedelta(seconds=1)


def order(command_id: str = "c1", command_type: str = "portfolio.reload", door: str = "celery") -> Order:
    return Order(command_id, command_type, "p1", 3, {"why": "test"}, door)


class Node:
    """Counts what it is told to do."""

    def __init__(self) -> None:
        self.done: list[Order] = []
        self.dispatcher = Dispatcher(
            "n1", {"portfolio.reload": self.reload, "portfolio.stop": self.refuse, "portfolio.start": self.fail}
        )

    def reload(self, order: Order) -> str:
        self.done.append(order)
        return "reconciling"

    def refuse(self, order: Order) -> str:
        raise Refused("not today")

    def fail(self, order: Order) -> str:
        raise KeyError("a defect")


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.mark.django_db
def test_a_command_is_executed_and_its_fate_is_written_down(node: Node) -> None:
    assert node.dispatcher.execute(order()) == CommandState.DONE
    row = Command.objects.get(command_id="c1")
    assert (row.state, row.result, row.node_id, row.epoch, row.params) == (
        "done", "reconciling", "n1", 3, {"why": "test"},
    )  # fmt: skip
    assert row.started_at is not None
    assert row.finished_at is not None
    assert row.started_at <= row.finished_at


@pytest.mark.django_db
def test_repeated_by_either_door_it_is_executed_once(node: Node) -> None:
    node.dispatcher.execute(order())
    assert node.dispatcher.execute(order()) == "repeated"
    assert node.dispatcher.execute(order(door="kafka")) == "repeated"
    assert len(node.done) == 1
    assert Command.objects.get().door == "celery"


@pytest.mark.django_db
@pytest.mark.parametrize("state", [CommandState.EXPIRED, CommandState.RUNNING, CommandState.FAILED])
def test_one_that_has_expired_or_is_run_elsewhere_is_not_executed(node: Node, state: str) -> None:
    Command.objects.create(command_id="c1", command_type="portfolio.reload", target_id="p1", state=state)
    assert node.dispatcher.execute(order()) == "repeated"
    assert node.done == []
    assert Command.objects.get().state == state


@pytest.mark.django_db
def test_one_that_the_scheduler_wrote_down_is_claimed(node: Node) -> None:
    Command.objects.create(command_id="c1", command_type="portfolio.reload", target_id="p1", issued_by="ann")
    assert node.dispatcher.execute(order()) == CommandState.DONE
    assert Command.objects.get().issued_by == "ann"


@pytest.mark.django_db
def test_an_unknown_command_is_warned_of_and_rejected(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    assert node.dispatcher.execute(order(command_type="portfolio.dance")) == CommandState.REJECTED
    assert "Unknown command: portfolio.dance" in caplog.text
    assert Command.objects.get().state == "rejected"


@pytest.mark.django_db
def test_a_refusal_is_a_value(node: Node) -> None:
    assert node.dispatcher.execute(order(command_type="portfolio.stop")) == CommandState.REJECTED
    assert Command.objects.get().result == "not today"


@pytest.mark.django_db
def test_a_handler_that_fails_leaves_a_failed_command_and_a_living_dispatcher(node: Node) -> None:
    assert node.dispatcher.execute(order(command_type="portfolio.start")) == CommandState.FAILED
    assert "KeyError" in Command.objects.get().result
    assert node.dispatcher.execute(order("c2")) == CommandState.DONE


@pytest.mark.django_db
def test_one_whose_time_is_over_is_not_executed_though_nobody_has_marked_it(node: Node) -> None:
    Command.objects.create(
        command_id="c1", command_type="portfolio.reload", target_id="p1", expires_at=datetime.now(UTC) - SECOND
    )
    assert node.dispatcher.execute(order()) == CommandState.EXPIRED
    assert node.done == []
    row = Command.objects.get()
    assert (row.state, row.result) == ("expired", "it came too late")


@pytest.mark.django_db
def test_by_kafka_it_expires_by_its_own_timestamp(node: Node) -> None:
    def command(command_id: str, age: float) -> ControlCommand:
        sent = datetime.now(UTC) - age * SECOND
        return ControlCommand(
            timestamp=sent, command_id=command_id, command_type="portfolio.reload", target_id="p1",
            params={"epoch": 3, "issued_by": "a foreign desk"},
        )  # fmt: skip

    assert node.dispatcher.execute(order_of(command("late", 31))) == CommandState.EXPIRED
    assert node.dispatcher.execute(order_of(command("in-time", 5))) == CommandState.DONE
    assert [o.command_id for o in node.done] == ["in-time"]
    row = Command.objects.get(command_id="in-time")
    assert (row.door, row.issued_by, row.epoch) == ("kafka", "a foreign desk", 3)


@pytest.mark.django_db
def test_one_meant_for_an_epoch_that_is_over_is_refused(node: Node) -> None:
    owner = User.objects.create_user("ann")
    portfolio = Portfolio.objects.create(id="p1", name="p", owner=owner, initial_cash=1, config={})
    Assignment.objects.create(portfolio=portfolio, node_id="n1", epoch=4)
    assert node.dispatcher.execute(order()) == CommandState.REJECTED
    assert node.done == []
    assert Command.objects.get().result == "stale: it was meant for epoch 3, which is over (now 4)"
    Assignment.objects.update(epoch=3)
    assert node.dispatcher.execute(order("c2")) == CommandState.DONE


@pytest.mark.django_db
def test_noted_for_somebody_else_it_waits_to_be_executed(node: Node) -> None:
    node.dispatcher.note(order())
    node.dispatcher.note(order())
    assert Command.objects.get().state == "sent"
    assert node.dispatcher.execute(order()) == CommandState.DONE


def test_without_a_database_it_is_left_to_reconciliation(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_order: Order) -> bool:
        raise OperationalError("gone")

    monkeypatch.setattr(node.dispatcher, "_claim", away)
    monkeypatch.setattr(connection, "close", lambda: None)
    assert node.dispatcher.execute(order()) == CommandState.FAILED
    assert node.done == []


class Away:
    """In the place of what needs the database: fails so often, and then does it."""

    def __init__(self, tries: int, error: type[Exception] = OperationalError) -> None:
        self.asked = 0
        self._tries = tries
        self._error = error

    def __call__(self, order: Order) -> str:
        self.asked += 1
        if self.asked <= self._tries:
            raise self._error("gone")
        return "done"


def by_kafka(age: float = 0.0) -> Order:
    return replace(order(door="kafka"), expires_at=datetime.now(UTC) + (30 - age) * SECOND)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the test's own connection, which has its transaction, none is closed."""
    monkeypatch.setattr(dispatcher, "_PAUSE", 0.01)
    monkeypatch.setattr(dispatcher, "close_old_connections", lambda: None)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_what_comes_by_kafka_outlives_a_short_outage_of_the_database(error: type[Exception]) -> None:
    away = Away(3, error)
    assert insist(away, by_kafka(), threading.Event()) == "done"
    assert away.asked == 4


@pytest.mark.usefixtures("impatient")
def test_it_is_given_up_when_it_has_expired(caplog: pytest.LogCaptureFixture) -> None:
    away = Away(1000)
    assert insist(away, by_kafka(age=29.8), threading.Event()) == CommandState.FAILED
    assert 1 < away.asked < 1000
    assert "Command c1 (portfolio.reload) is given up: gone" in caplog.text


@pytest.mark.django_db
@pytest.mark.usefixtures("impatient")
def test_one_that_was_claimed_when_the_database_went_is_carried_out_when_it_is_back() -> None:
    away = Away(2)
    node = Dispatcher("n1", {"portfolio.reload": away})
    assert insist(node.attempt, by_kafka(), threading.Event()) == CommandState.DONE
    assert (away.asked, node.executed) == (3, 1)
    assert Command.objects.get().state == "done"
    assert insist(node.attempt, by_kafka(), threading.Event()) == "repeated"


@pytest.mark.django_db
@pytest.mark.usefixtures("impatient")
def test_one_for_which_the_database_was_away_too_long_is_not_carried_out_and_said_to_be_late(node: Node) -> None:
    late = by_kafka(age=29.8)

    def after_it(order: Order) -> str:
        if late.expires_at is not None and datetime.now(UTC) < late.expires_at:
            raise OperationalError("gone")
        return node.dispatcher.attempt(order)

    assert insist(after_it, late, threading.Event()) == CommandState.EXPIRED
    assert node.done == []
    assert Command.objects.get().state == "expired"


@pytest.mark.usefixtures("impatient")
def test_its_wait_for_the_database_holds_up_no_stop() -> None:
    away, stop = Away(1000), threading.Event()
    stop.set()
    assert insist(away, by_kafka(), stop) == CommandState.FAILED
    assert away.asked == 1


@pytest.mark.usefixtures("impatient")
def test_what_the_database_refuses_keeps_nobody_waiting() -> None:
    refused = Away(1, IntegrityError)
    assert insist(refused, by_kafka(), threading.Event()) == CommandState.FAILED
    assert refused.asked == 1


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_of_many_threads_with_the_same_command_one_executes_it(node: Node) -> None:
    together = threading.Barrier(4)
    said: list[str] = []

    def execute(door: str) -> None:
        try:
            together.wait(10)
            said.append(node.dispatcher.execute(order(door=door)))
        finally:
            connection.close()

    threads = [threading.Thread(target=execute, args=(door,)) for door in ("celery", "kafka", "celery", "kafka")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(said) == ["done", "repeated", "repeated", "repeated"]
    assert len(node.done) == 1
