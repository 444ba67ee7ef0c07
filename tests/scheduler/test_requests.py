"""What an owner wishes reaches the scheduler and the node at once, after the commit."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from portfolios import services, signals
from portfolios.models import Command, Portfolio
from portfolios.models.portfolio import Status
from scheduler import cycle
from tests.portfolios.test_configs import GOOD
from tests.scheduler.conftest import Herd

pytestmark = pytest.mark.servers

Make = Callable[..., str]
Capture = Callable[..., Any]


def asked(herd: Herd) -> list[dict[str, Any]]:
    messages = [json.loads(raw) for raw in herd.redis.lrange("scheduler", 0, -1)]
    return [json.loads(base64.b64decode(m["body"]))[1] for m in messages if m["headers"]["task"] == "scheduler.tick"]


def test_starting_a_portfolio_asks_for_a_tick(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", desired_state="stopped")
    with django_capture_on_commit_callbacks(execute=True):
        services.start("p1")
    assert [a["trigger"] for a in asked(herd)] == ["desired state changed"]


def test_nothing_is_asked_before_the_commit(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", desired_state="stopped")
    with django_capture_on_commit_callbacks(execute=False):
        services.start("p1")
    assert asked(herd) == []


def test_a_start_is_told_to_the_node_that_has_it_for_it_may_have_given_up(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", "n1", 3, status=Status.ERROR)
    portfolio("p2")
    with django_capture_on_commit_callbacks(execute=True):
        for name in ("p1", "p2"):
            services.start(name, asked_by="alice")
    (sent,) = herd.queue("n1")
    assert (sent["command_type"], sent["target_id"], sent["epoch"]) == ("portfolio.start", "p1", 3)
    told = Command.objects.exclude(node_id="").values_list("command_type", "target_id", "node_id", "issued_by")
    assert list(told) == [("portfolio.start", "p1", "n1", "alice")]


def test_a_stop_is_left_to_the_tick(herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture) -> None:
    portfolio("p1", "n1", 3)
    with django_capture_on_commit_callbacks(execute=True):
        services.stop("p1")
    assert herd.queue("n1") == []
    assert len(asked(herd)) == 1


def test_a_new_configuration_is_told_to_the_node_that_runs_it(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", "n1", 3)
    portfolio("p2")
    with django_capture_on_commit_callbacks(execute=True):
        for name in ("p1", "p2"):
            signals.config_changed.send(sender=Portfolio, portfolio_id=name, version=2)
    (sent,) = herd.queue("n1")
    assert (sent["command_type"], sent["target_id"], sent["epoch"]) == ("portfolio.reload", "p1", 3)
    assert sent["params"] == {"version": 2}


def test_a_deposit_is_told_to_the_node_that_runs_it(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", "n1", 3)
    with django_capture_on_commit_callbacks(execute=True):
        services.deposit("p1", 5, "r", "trader")
    (sent,) = herd.queue("n1")
    assert (sent["command_type"], sent["target_id"], sent["epoch"]) == ("portfolio.adjust", "p1", 3)


def test_who_asked_for_a_reload_or_a_deposit_is_in_the_command_log(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", "n1", 3)
    with django_capture_on_commit_callbacks(execute=True):
        services.reload("p1", "alice")
        services.deposit("p1", 5, "r", "trader")
    asked = Command.objects.order_by("created_at").values_list("command_type", "issued_by")
    assert list(asked) == [("portfolio.reload", "alice"), ("portfolio.adjust", "trader")]


def test_a_reload_of_a_portfolio_that_no_node_has_is_done_as_it_is_asked(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1")
    with django_capture_on_commit_callbacks(execute=True):
        assert services.reload("p1", "alice").assignment.node_id == ""
    row = Command.objects.get()
    assert (row.command_type, row.target_id, row.issued_by) == ("portfolio.reload", "p1", "alice")
    assert (row.state, row.door, row.node_id) == ("done", "direct", "")
    assert row.result == "no node runs it: its next start takes the newest"


def test_who_changed_a_configuration_has_asked_for_the_reload(
    herd: Herd, portfolio: Make, django_capture_on_commit_callbacks: Capture
) -> None:
    portfolio("p1", "n1", 3)
    with django_capture_on_commit_callbacks(execute=True):
        services.update_config("p1", GOOD, User.objects.create_user("editor"))
    assert Command.objects.get().issued_by == "editor"


def test_the_command_to_the_node_names_who_wished_it(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", desired_state="stopped")
    portfolio("p2")
    herd.beat("n1")
    services.start("p1", asked_by="alice")
    cycle.tick()
    sent = Command.objects.filter(command_type="portfolio.start", node_id="n1")
    assert dict(sent.values_list("target_id", "issued_by")) == {"p1": "alice", "p2": "scheduler"}
    services.stop("p1", asked_by="bob")
    cycle.tick()
    assert Command.objects.get(command_type="portfolio.stop", node_id="n1").issued_by == "bob"


def test_a_wish_of_long_ago_is_not_why_the_scheduler_starts_it_now(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", desired_state="stopped")
    services.start("p1", asked_by="alice")
    Command.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=5))
    herd.beat("n1")
    cycle.tick()
    assert Command.objects.get(node_id="n1").issued_by == "scheduler"
