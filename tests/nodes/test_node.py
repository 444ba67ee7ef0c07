"""A node's life in one process: made idle, started once, its threads named, all of them ended by its stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from redis import ConnectionError, Redis

from market import dispatcher, topics
from market.control import ControlPublisher
from market.dispatcher import Order
from market.messages import ControlCommand, NodeOffline
from nodes import node as node_module
from nodes.node import Node
from nodes.processor import Processor
from nodes.trimmer import Trimmer
from portfolios import livestate
from portfolios.models import Assignment, Command, Portfolio
from tests.support import eventually


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def made(home: Path) -> Node:
    return Node(f"n-{uuid4().hex[:8]}", settings.GINKGO.node, home)


def test_made_it_has_no_thread_and_no_connection(tmp_path: Path) -> None:
    """Without a server: one that tried to reach any would fail."""
    before = names()
    node = made(tmp_path)
    assert names() == before
    node.stop()  # before its start: nothing to do


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_started_twice_it_warns_and_stopped_it_leaves_no_thread(
    topics_there: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = names()
    node = made(tmp_path)
    me = node.node_id
    caplog.set_level(logging.INFO)
    node.start()
    try:
        expected = {
            f"{thread}_{me}"
            for thread in (
                "heartbeat", "checkpointer", "market", "feedback", "schedule_updates", "announcer", "reconciler", "lag",
            )
        }  # fmt: skip
        assert expected <= names() - before
        node.start()
        assert f"ExecutionNode {me} is already running" in caplog.text
        assert livestate.client().exists(livestate.heartbeat_key(me))
    finally:
        node.stop()
    assert not [name for name in names() if me in name]
    assert not livestate.client().exists(livestate.heartbeat_key(me), livestate.metrics_key(me))


class Leaver:
    """In the place of a portfolio of the node: keeps what Redis said of the node when it was asked to end."""

    epoch, config_version, view = 1, 1, None
    queued = applied = drops = pressures = skipped = 0
    given_back = True

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self.portfolio_id = str(uuid4())
        self.stopping, self.running = threading.Event(), threading.Event()
        self.found: str | None = None

    def end(self, _how: str, _deadline: float) -> None:
        self.found = livestate.client().hget(livestate.node_info_key(self._node_id), "state")  # type: ignore[assignment]
        self.stopping.set()

    def join(self, _timeout: float) -> None: ...


@pytest.fixture
def running(topics_there: None, tmp_path: Path, transactional_db: None) -> Iterator[Node]:
    node = made(tmp_path)
    node.start()
    yield node
    node.stop()


@pytest.mark.servers
def test_stopping_redis_knows_before_a_portfolio_is_given_back_and_has_forgotten_it_when_it_says_goodbye(
    running: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, redis = running.node_id, livestate.client()
    leaver = running._processors["p"] = Leaver(me)  # type: ignore[assignment]
    at_goodbye: list[Any] = []
    say = running._announcer._say

    def listen(event: Any) -> bool:
        if isinstance(event, NodeOffline):
            at_goodbye.append((redis.exists(livestate.heartbeat_key(me)), redis.exists(livestate.node_left_key(me))))
        return say(event)

    eventually(lambda: running._announcer._online, saying="hello")
    monkeypatch.setattr(running._announcer, "_say", listen)
    assert redis.hget(livestate.node_info_key(me), "state") == "running"
    monkeypatch.setattr(running._reconciler, "step", lambda: True)
    running.stop()
    assert leaver.found == "stopping"
    assert at_goodbye == [(0, 1)]


@pytest.mark.servers
def test_without_redis_it_stops_all_the_same(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Redis:
        raise ConnectionError("refused")

    monkeypatch.setattr(running._heartbeat, "client", away)
    begun = time.monotonic()
    running.stop(timeout=20)
    assert time.monotonic() - begun < 15
    assert not [name for name in names() if running.node_id in name]


@pytest.fixture
def mourning(topics_there: None, tmp_path: Path, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node, not started yet, whose process does not end when one of its threads dies."""
    monkeypatch.setattr(node_module, "Mortality", lambda *_: lambda _thread: None)
    return made(tmp_path)


@pytest.mark.servers
def test_a_dead_thread_is_an_alert_and_an_unhealthy_node_before_the_next_beat_is_due(
    mourning: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    die = threading.Event()
    monkeypatch.setattr(Trimmer, "work", lambda _self: die.wait(60))
    me = mourning.node_id

    def said(field: str) -> Any:
        return livestate.client().hget(livestate.node_info_key(me), field)

    mourning.start()
    try:
        eventually(lambda: said("state") == "running", saying="it runs")
        die.set()
        eventually(lambda: said("state") == "unhealthy", timeout=settings.GINKGO.node.heartbeat_interval / 2)
        assert said("health") == f"thread {mourning._trimmer.name} has died"
        alerts = [line for line in caplog.messages if line.startswith("component_error: ")]
        assert alerts == [f"component_error: Thread {mourning._trimmer.name} of {me} has died: None"]
    finally:
        mourning.stop()


@pytest.mark.servers
def test_the_death_of_the_heartbeat_which_watches_the_others_is_an_alert_too(
    mourning: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect() -> None:
        raise ZeroDivisionError("a defect")

    mourning.start()
    try:
        name = mourning._heartbeat.name
        monkeypatch.setattr(mourning._heartbeat, "step", defect)
        said = f"component_error: Thread {name} of {mourning.node_id} has died: a defect"
        eventually(lambda: said in caplog.messages, timeout=5, saying="the alert")
        assert caplog.messages.count(said) == 1
    finally:
        mourning.stop()


@pytest.mark.servers
def test_a_portfolio_that_dies_at_each_start_is_started_less_and_less_often_with_one_alert_a_minute(
    running: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[float] = []

    class Doomed(Processor):
        def work(self) -> None:
            begun.append(time.monotonic())
            raise ZeroDivisionError("a defect")

    monkeypatch.setattr(node_module, "Processor", Doomed)
    owner = User.objects.create_user("trader")
    made = Portfolio.objects.create(name="doomed", owner=owner, initial_cash=1, config={}, desired_state="running")
    Assignment.objects.create(portfolio=made, node_id=running.node_id, epoch=1)
    running._reconciler.wake()
    eventually(lambda: len(begun) == 3, timeout=20, saying="the third start")
    assert (begun[1] - begun[0] >= 1, begun[2] - begun[1] >= 2) == (True, True)
    alerts = [line for line in caplog.messages if line.startswith("component_error: ")]
    assert alerts == [f"component_error: Portfolio {made.id} died and is started again in 1 s: a defect"]
    eventually(lambda: running._restarts.wait(str(made.id), time.monotonic()) > 0, saying="its third death noticed")
    running.dispatcher.execute(Order(str(uuid4()), "portfolio.start", str(made.id), None, {}, "celery"))
    eventually(lambda: len(begun) == 4, timeout=3, saying="the start that somebody asked for, which waits for nothing")


@pytest.mark.servers
def test_a_command_by_kafka_outlives_a_short_outage_of_the_database_and_leaves_no_connection_open(
    running: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing reconciles a shutdown that was not heard; what a thread leaves open for hours is not there any more."""
    obeyed: list[Any] = []

    def obey(_order: Order) -> str:
        obeyed.append(connections["default"])
        return "shutting down"

    known, faults = Command.objects.get_or_create, [OperationalError("gone"), OperationalError("gone")]

    def get_or_create(**fields: Any) -> Any:
        if faults:
            raise faults.pop()
        return known(**fields)

    monkeypatch.setitem(running.dispatcher._handlers, "node.shutdown", obey)
    monkeypatch.setattr(Command.objects, "get_or_create", get_or_create)
    monkeypatch.setattr(dispatcher, "_PAUSE", 0.1)
    assert running._control._consumer.ready.wait(20)
    asked = ControlCommand(
        timestamp=datetime.now(UTC), command_id=str(uuid4()), command_type="node.shutdown", target_id=running.node_id,
        params={},
    )  # fmt: skip
    publisher = ControlPublisher("tests")
    publisher.publish(topics.CONTROL_COMMANDS, running.node_id, asked)
    publisher.close()
    eventually(lambda: obeyed, saying="the shutdown")
    eventually(lambda: Command.objects.get(command_id=asked.command_id).state == "done", saying="its fate written down")
    eventually(lambda: obeyed[0].connection is None, saying="the connection of the control thread closed")
