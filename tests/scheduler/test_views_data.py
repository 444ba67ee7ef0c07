"""What commands and pages read, and the commands' tables in 80 columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ginkgo_site.addresses import resolve
from portfolios import livestate
from portfolios.models import Command
from scheduler import beat_seed, cycle, moves, operations, views_data
from scheduler.models import Node
from tests.scheduler.conftest import Clock, Herd, owner_of

Make = Callable[..., str]


@pytest.fixture
def running(herd: Herd, portfolio: Make) -> Herd:
    portfolio("p1", "n1", 1)
    portfolio("p2")
    herd.beat("n1", queue_size=12, cpu_usage=3.4, portfolio_count=1, places=1,
        lag_messages=42, lag_seconds=1.5, lag='{"market:3":[42,1.5]}')  # fmt: skip
    beat_seed.seed()
    cycle.tick()
    return herd


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    call_command("scheduler", *words)
    return capsys.readouterr().out


def test_a_node_shows_what_it_measures_and_what_it_is_given(running: Herd) -> None:
    (node,) = views_data.nodes()
    assert (node["node_id"], node["state"], node["enabled"]) == ("n1", "running", True)
    assert (node["portfolios"], node["assigned_count"], node["max_portfolios"]) == (1, 1, 1)
    assert (node["queue_size"], node["cpu_usage"]) == (12.0, 3.4)
    assert node["heartbeat_age"] < 30
    assert (node["lag_messages"], node["lag_seconds"]) == (42, 1.5)
    assert node["lag"] == [{"topic": "market", "partition": 3, "messages": 42, "seconds": 1.5}]


def test_a_node_the_scheduler_has_not_met_yet_is_shown_too(herd: Herd) -> None:
    herd.beat("early")
    assert [n["node_id"] for n in views_data.nodes()] == ["early"]


def test_an_offline_node_has_no_heartbeat(herd: Herd, db: None) -> None:
    Node.objects.create(node_id="gone", state="offline")
    (node,) = views_data.nodes()
    assert (node["state"], node["heartbeat_age"]) == ("offline", None)


def test_one_node_lists_its_portfolios(running: Herd) -> None:
    node = views_data.node("n1")
    assert node is not None
    assert node["assigned"] == [{"portfolio_id": "p1", "name": "p1", "epoch": 1}]
    assert views_data.node("n9") is None


def test_without_redis_the_registry_still_answers(running: Herd, settings: Any) -> None:
    away = settings.GINKGO.redis.model_copy(update={"host": "127.0.0.1", "port": 1})
    config = settings.GINKGO.model_copy(update={"redis": away})
    settings.GINKGO_RESOLVE = lambda: resolve(config)
    assert [n["node_id"] for n in views_data.nodes()] == ["n1"]
    assert views_data.status()["scheduler_status"] == "unknown"


def test_the_plan_says_where_why_and_what_moves(running: Herd, clock: Clock) -> None:
    moves.begin(owner_of("p1"), "n2", "test", clock())
    plan = views_data.plan()
    first, second = plan["portfolios"]
    assert (first["node_id"], first["epoch"], first["moving_to"]) == ("n1", 1, "n2")
    assert "full (1 of 1 places taken)" in second["reason"]
    assert plan["version"] == views_data.history()[0]["version"]


def test_the_status_is_running_while_checks_are_recent(running: Herd) -> None:
    status = views_data.status()
    assert status["scheduler_status"] == "running"
    assert (status["node_count"], status["portfolio_count"], status["unplaced_count"]) == (1, 1, 1)
    assert (status["schedule_interval"], status["heartbeat_check_interval"]) == (30, 5)


def test_a_scheduler_that_was_killed_shows_as_stopped(running: Herd) -> None:
    old = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
    running.redis.hset(livestate.SCHEDULER_STATUS, "last_check", old)
    assert views_data.status()["scheduler_status"] == "stopped"


def test_the_command_log_is_newest_first(running: Herd, clock: Clock) -> None:
    moves.begin(owner_of("p1"), "n2", "test", clock())
    assert views_data.command_log()[0]["command_type"] == "portfolio.migrate_out"
    assert views_data.command_log(target_id="nothing") == []


def test_the_tables_fit_eighty_columns(running: Herd, capsys: pytest.CaptureFixture[str]) -> None:
    Node.objects.create(node_id="execution_node_with_a_rather_long_name_001", enabled=False)
    Command.objects.create(
        command_type="portfolio.migrate_out", target_id="7d5e1234-0000-0000-0000-000000000000", epoch=123456,
        node_id="execution_node_with_a_rather_long_name_001", issued_by="a.person.with@a.long.name.example",
        state="expired", result="nobody began it in time " * 5, finished_at=datetime.now(UTC),
    )  # fmt: skip
    for words in (["nodes"], ["plan"], ["status"], ["commands"]):
        text = printed(capsys, *words)
        assert max(map(len, text.splitlines())) <= 80
    table = printed(capsys, "nodes")
    for column in ("Node ID", "Portfolios", "Queue Size", "CPU Usage", "Last Heartbeat", "3.4%", "1/1"):
        assert column in table


def test_the_commands_are_listed_with_who_what_and_what_became_of_it(
    running: Herd, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.drain("n1", "alice")
    operations.enable("n1", "bob")
    text = printed(capsys, "commands", "--limit", "1")
    for word in ("node.enable", "n1", "done", "by bob", "in service"):
        assert word in text
    assert "alice" not in text
    found = json.loads(printed(capsys, "commands", "--node", "n1", "--json"))
    assert [(c["command_type"], c["issued_by"]) for c in found] == [("node.enable", "bob"), ("node.drain", "alice")]
    moves.begin(owner_of("p1"), "n2", "test", datetime.now(UTC), "carol")
    (moved,) = json.loads(printed(capsys, "commands", "--portfolio", "p1", "--json"))
    assert (moved["command_type"], moved["epoch"], moved["issued_by"]) == ("portfolio.migrate_out", 1, "carol")
    with pytest.raises(CommandError, match="there is no portfolio 'nothing'"):
        call_command("scheduler", "commands", "--portfolio", "nothing", stdout=StringIO())


def test_json_is_one_document(running: Herd, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, "nodes", "--json"))[0]["node_id"] == "n1"
    assert json.loads(printed(capsys, "plan", "--json"))["portfolios"][0]["epoch"] == 1
    assert json.loads(printed(capsys, "status", "--json"))["scheduler_status"] == "running"
    assert json.loads(printed(capsys, "rebalance", "--json"))["accepted"] is True


def test_migrating_by_the_command(running: Herd, capsys: pytest.CaptureFixture[str]) -> None:
    running.beat("n2")
    cycle.check()
    assert json.loads(printed(capsys, "migrate", "p1", "--to", "n2", "--json"))["target_node"] == "n2"
    with pytest.raises(CommandError, match="is being moved already"):
        call_command("scheduler", "migrate", "p1", "--to", "n2", stdout=StringIO())
