"""What other producers ask by Kafka: taken by the scheduler, whoever has the portfolio, and written down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import InterfaceError, OperationalError

from market import dispatcher, topics
from market.control import Record
from market.messages import ControlCommand, encode
from portfolios.models import Command, Portfolio
from portfolios.models.portfolio import DesiredState
from scheduler import cycle
from scheduler import door as door_module
from scheduler.door import CommandDoor
from scheduler.models import Node, PlannedMove
from tests.scheduler.conftest import Herd, owner_of

pytestmark = pytest.mark.servers

Make = Callable[..., str]


@pytest.fixture
def door(herd: Herd) -> CommandDoor:
    return CommandDoor()


def command(kind: str, target: str, command_id: str = "", age: float = 0.0, **params: Any) -> ControlCommand:
    return ControlCommand(
        timestamp=datetime.now(UTC) - timedelta(seconds=age), command_id=command_id or str(uuid4()),
        command_type=kind, target_id=target, params=params,
    )  # fmt: skip


def result_of(asked: ControlCommand) -> str:
    return Command.objects.get(command_id=asked.command_id).result


def test_a_portfolio_is_stopped_and_started(door: CommandDoor, portfolio: Make) -> None:
    portfolio("p1")
    assert door.take(command("portfolio.stop", "p1")) == "done"
    assert Portfolio.objects.get().desired_state == DesiredState.STOPPED
    assert door.take(command("portfolio.start", "p1")) == "done"
    assert Portfolio.objects.get().desired_state == DesiredState.RUNNING


def test_what_came_by_kafka_is_written_down_once(door: CommandDoor, herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1")
    cycle.tick()
    Command.objects.all().delete()
    asked = [command(k, t, issued_by="a desk") for k, t in (("portfolio.stop", "p1"), ("node.enable", "n1"))]
    assert [door.take(each) for each in asked] == ["done", "done"]
    written = Command.objects.values_list("command_id", "issued_by", "door")
    assert set(written) == {(each.command_id, "a desk", "kafka") for each in asked}


def test_repeated_or_in_another_order_each_is_done_once(door: CommandDoor, portfolio: Make) -> None:
    portfolio("p1")
    stop, start = command("portfolio.stop", "p1"), command("portfolio.start", "p1")
    assert [door.take(one) for one in (stop, start, stop, start, stop)] == ["done", "done", *["repeated"] * 3]
    assert Portfolio.objects.get().desired_state == DesiredState.RUNNING


def test_a_move_is_begun_as_an_operator_would(door: CommandDoor, herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick()
    asked = command("portfolio.migrate", "p1", target_node="n2", issued_by="a desk")
    assert door.take(asked) == "done"
    move = PlannedMove.objects.get()
    assert (move.source, move.target, move.reason) == ("n1", "n2", "asked for by a desk")


def test_a_node_is_drained_and_enabled(door: CommandDoor, herd: Herd) -> None:
    herd.beat("n1")
    cycle.tick()
    assert door.take(command("node.drain", "n1")) == "done"
    assert not Node.objects.get().enabled
    assert door.take(command("node.enable", "n1")) == "done"
    assert Node.objects.get().enabled


@pytest.mark.parametrize(
    ("kind", "target", "params", "why"),
    [
        ("portfolio.start", "nobody", {}, "nobody"),
        ("portfolio.migrate", "p1", {"target_node": "n9"}, "there is no node 'n9'"),
        ("portfolio.stop", "p1", {"epoch": 2}, "stale: it was meant for epoch 2, which is over (now 3)"),
        ("node.drain", "n9", {}, "there is no node 'n9'"),
        ("portfolio.dance", "p1", {}, "unknown command portfolio.dance"),
    ],
)
def test_what_cannot_be_is_rejected_with_its_reason(
    door: CommandDoor, portfolio: Make, kind: str, target: str, params: dict[str, Any], why: str
) -> None:
    portfolio("p1", "n1", 3)
    asked = command(kind, target, **params)
    assert door.take(asked) == "rejected"
    assert why in result_of(asked)
    assert Portfolio.objects.get().desired_state == DesiredState.RUNNING
    assert owner_of("p1").epoch == 3


def test_one_that_comes_late_is_recorded_and_not_done(door: CommandDoor, portfolio: Make) -> None:
    portfolio("p1")
    asked = command("portfolio.stop", "p1", age=31)
    assert door.take(asked) == "expired"
    assert result_of(asked) == "it came too late"
    assert Portfolio.objects.get().desired_state == DesiredState.RUNNING


def test_what_a_node_does_itself_is_written_down_and_expires_if_none_does(door: CommandDoor, portfolio: Make) -> None:
    portfolio("p1")
    asked = command("portfolio.reload", "p1", age=20)
    door.take(asked)
    assert Command.objects.get().state == "sent"
    Command.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=10))
    cycle.tick()
    assert Command.objects.get(command_id=asked.command_id).state == "expired"


@pytest.mark.parametrize(
    ("kind", "target", "fate"),
    [
        ("portfolio.stop", "p1", "done"), ("portfolio.start", "p1", "done"), ("node.drain", "n1", "done"),
        ("portfolio.reload", "p1", "sent"),
    ],
)  # fmt: skip
def test_what_comes_while_the_database_is_away_is_done_when_it_is_back(
    door: CommandDoor, herd: Herd, portfolio: Make, monkeypatch: pytest.MonkeyPatch, kind: str, target: str, fate: str
) -> None:
    portfolio("p1")
    herd.beat("n1")
    cycle.tick()
    known, faults = Command.objects.get_or_create, [OperationalError("gone"), InterfaceError("closed")]

    def get_or_create(**fields: Any) -> Any:
        if faults:
            raise faults.pop()
        return known(**fields)

    asked = command(kind, target)
    record = Record(topics.CONTROL_COMMANDS, 0, 0, target, encode(asked))
    monkeypatch.setattr(door_module, "ControlConsumer", lambda *_, **__: [record])
    monkeypatch.setattr(Command.objects, "get_or_create", get_or_create)
    monkeypatch.setattr(dispatcher, "_PAUSE", 0.01)
    # The test's own connection has its transaction.
    monkeypatch.setattr(dispatcher, "close_old_connections", lambda: None)
    door.run(threading.Event())
    assert Command.objects.get(command_id=asked.command_id).state == fate


def test_who_asked_by_kafka_is_told_to_the_node_that_has_the_portfolio(
    door: CommandDoor, herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    portfolio("p1", "n1", 3)
    with django_capture_on_commit_callbacks(execute=True):
        door.take(command("portfolio.start", "p1", issued_by="a desk"))
    assert Command.objects.get(node_id="n1").issued_by == "a desk"


def test_the_engines_commands_are_the_engines(door: CommandDoor) -> None:
    door.take(command("engine.stop", "engine"))
    assert not Command.objects.exists()
