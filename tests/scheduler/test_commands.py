"""Commands: recorded, queued, and harmless when nobody takes them."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from market.dispatcher import Dispatcher, Order
from portfolios.models import Command
from portfolios.models.command import CommandState
from scheduler import commands, cycle, requests
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


def begin(created_at: datetime, started_at: datetime) -> str:
    """A command that was begun then; its id."""
    made = Command.objects.create(
        command_type="portfolio.migrate_out", target_id="p1", state=CommandState.RUNNING, started_at=started_at
    )
    Command.objects.filter(pk=made.pk).update(created_at=created_at)
    return made.pk


def test_what_was_begun_and_never_ended_has_failed(db: None, clock: Clock) -> None:
    now = clock()
    long_ago, of_late = now - timedelta(minutes=6), now - timedelta(minutes=4)
    dead, at_work = begin(long_ago, long_ago), begin(of_late, of_late)
    by_a_clock_behind, waited_long = begin(of_late, long_ago), begin(long_ago, of_late)
    assert commands.sweep(now) == 1
    row = Command.objects.get(pk=dead)
    assert (row.state, row.result, row.finished_at) == (CommandState.FAILED, "its executor ended", now)
    others = Command.objects.filter(pk__in=(at_work, by_a_clock_behind, waited_long))
    assert set(others.values_list("state", flat=True)) == {CommandState.RUNNING}


def test_a_command_may_run_for_as_long_as_a_node_may_take_to_stop(db: None, clock: Clock, settings: Any) -> None:
    patient = settings.GINKGO.node.model_copy(update={"stop_timeout": 600.0})
    settings.GINKGO = settings.GINKGO.model_copy(update={"node": patient})
    then = clock() - timedelta(minutes=19)
    begin(then, then)
    assert commands.sweep(clock()) == 0
    assert commands.sweep(clock() + timedelta(minutes=2)) == 1


def test_one_that_ends_after_all_says_what_came_of_it(db: None, clock: Clock) -> None:
    def late(order: Order) -> str:
        assert commands.sweep(clock() + timedelta(minutes=6)) == 1
        return "handed over to n2"

    order = Order("late", "portfolio.migrate_out", "p1", None, {}, "celery")
    assert Dispatcher("n1", {"portfolio.migrate_out": late}).execute(order) == CommandState.DONE
    row = Command.objects.get(pk="late")
    assert (row.state, row.result) == (CommandState.DONE, "handed over to n2")


def test_the_log_forgets_what_is_very_old_some_at_a_time(
    herd: Herd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "FORGET_AT_ONCE", 2)
    old = [begin(clock() - timedelta(days=90, seconds=n), clock()) for n in (1, 2, 3)]
    young = begin(clock() - timedelta(days=89), clock())
    cycle.check(clock=clock)
    assert Command.objects.count() == 4, "a check has other things to do"
    cycle.tick(clock=clock)
    assert set(Command.objects.values_list("pk", flat=True)) == {old[0], young}, "the oldest first"
    cycle.tick(clock=clock)
    assert Command.objects.get().pk == young


def test_a_log_of_years_is_pruned_by_a_thousand(db: None, clock: Clock) -> None:
    rows = Command.objects.bulk_create(Command(command_type="node.drain", target_id="n1") for _ in range(1_050))
    Command.objects.update(created_at=clock() - timedelta(days=400))
    assert len(rows) == 1_050
    assert [commands.prune(clock()) for _ in range(3)] == [1_000, 50, 0]


def test_a_command_that_was_begun_cannot_be_taken_back(herd: Herd, clock: Clock) -> None:
    command = commands.send("portfolio.migrate_out", "p1", "n1", 1)
    Command.objects.update(state=CommandState.RUNNING)
    assert not commands.cancel(command.command_id, "test", clock())
