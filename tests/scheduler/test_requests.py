"""What an owner wishes reaches the scheduler and the node at once, after the commit."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from portfolios import services, signals
from portfolios.models import Portfolio
from tests.scheduler.conftest import Herd

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
