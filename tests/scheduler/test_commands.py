"""Commands: recorded, queued, and harmless when nobody takes them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from portfolios.models import Command
from portfolios.models.command import CommandState
from scheduler import commands, requests
from tests.scheduler.conftest import Clock, Herd


@pytest.fixture
def no_broker(settings: Any) -> None:
    """Redis is given, at an address where nobody listens."""
    away = settings.GINKGO.redis.model_copy(update={"host": "127.0.0.1", "port": 1})
    config = settings.GINKGO.model_copy(update={"redis": away})
    from ginkgo_site.addresses import resolve

    settings.GINKGO = config
    settings.GINKGO_RESOLVE = lambda: resolve(config)


def test_a_command_is_recorded_and_lies_on_its_nodes_queue(herd: Herd) -> None:
    sent = commands.send("portfolio.stop", "p1", "n1", 7, {"why": "test"}, issued_by="alice")
    row = Command.objects.get()
    assert (row.state, row.issued_by, row.node_id, row.epoch) == ("sent", "alice", "n1", 7)
    assert row.expires_at is not None
    assert herd.queue("n1") == [
        {
            "command_id": sent.command_id,
            "command_type": "portfolio.stop",
            "target_id": "p1",
            "epoch": 7,
            "params": {"why": "test"},
        }
    ]


def test_a_broker_that_is_away_does_not_fail_the_caller(db: None, no_broker: None) -> None:
    command = commands.send("portfolio.start", "p1", "n1", 1)
    assert command.state == CommandState.FAILED
    row = Command.objects.get()
    assert row.state == CommandState.FAILED
    assert row.result.startswith("not sent: ")


def test_a_tick_that_cannot_be_asked_for_is_a_no_not_an_error(no_broker: None) -> None:
    assert requests.request_tick("test") is False


def test_a_broker_that_is_away_costs_a_round_of_many_commands_little(db: None, no_broker: None) -> None:
    began = time.monotonic()
    for i in range(100):
        commands.send("portfolio.start", f"p{i}", "n1", 1)
    assert time.monotonic() - began < 20  # were each to look for the broker by itself, it would be a minute
    assert Command.objects.filter(state=CommandState.FAILED).count() == 100


def test_an_unknown_command_is_refused_before_it_is_sent(db: None) -> None:
    with pytest.raises(ValueError, match="no command type"):
        commands.send("portfolio.sell_everything", "p1", "n1")
    assert not Command.objects.exists()


def test_what_nobody_began_in_time_expires(herd: Herd, clock: Clock) -> None:
    late, begun = commands.send("node.drain", "n1", "n1"), commands.send("node.drain", "n2", "n2")
    Command.objects.filter(command_id=begun.command_id).update(state=CommandState.RUNNING)
    assert commands.sweep(clock()) == 0
    assert commands.sweep(clock() + timedelta(seconds=40)) == 1
    assert Command.objects.get(command_id=late.command_id).state == CommandState.EXPIRED
    assert Command.objects.get(command_id=begun.command_id).state == CommandState.RUNNING


def test_a_command_that_was_begun_cannot_be_taken_back(herd: Herd, clock: Clock) -> None:
    command = commands.send("portfolio.migrate_out", "p1", "n1", 1)
    Command.objects.update(state=CommandState.RUNNING)
    assert not commands.cancel(command.command_id, "test", clock())
