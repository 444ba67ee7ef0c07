from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from alerts.rules import Quiet, Wanted, patterns
from tests.alerts.making import NOON, alert

ALL = Wanted(
    rule_id=1, user=7, sees_all=True, since=NOON - timedelta(hours=1), severity="warning", types=(), sources=(),
    portfolios=frozenset(), channels=(1,), min_interval=60, quiet=None, critical_passes=True,
)  # fmt: skip
NIGHT = Quiet(time(22), time(7), "Asia/Shanghai")


@pytest.mark.parametrize(
    ("rule", "given", "wanted"),
    [
        ({}, alert(severity="warning"), True),
        ({}, alert(severity="critical"), True),
        ({}, alert(severity="info"), False),
        ({"types": ("queue_*",)}, alert("queue_full"), True),
        ({"types": ("queue_*", "data_gap")}, alert("node_offline"), False),
        ({"sources": ("node-*",)}, alert(source="node-9"), True),
        ({"sources": ("node-*",)}, alert(source="scheduler"), False),
        ({"portfolios": frozenset({"p1"})}, alert(portfolio_id="p1"), True),
        ({"portfolios": frozenset({"p1"})}, alert(portfolio_id="p2"), False),
        ({"portfolios": frozenset({"p1"})}, alert(), False),
        ({}, alert(at=NOON - timedelta(hours=2)), False),  # older than the rule
        ({"sees_all": False}, alert(portfolio_id="mine"), True),
        ({"sees_all": False}, alert(portfolio_id="theirs"), False),
        ({"sees_all": False}, alert(portfolio_id="unknown"), False),
        ({"sees_all": False}, alert(), False),  # of the platform: for staff
    ],
)
def test_a_rule_wants_what_fits_all_its_conditions(rule: dict[str, Any], given: Any, wanted: bool) -> None:
    assert replace(ALL, **rule).wants(given, {"mine": 7, "theirs": 8}) is wanted


@pytest.mark.parametrize(
    ("local", "until"),
    [
        ("2026-03-02T21:59:59+08:00", None),
        ("2026-03-02T22:00:00+08:00", "2026-03-03T07:00:00+08:00"),
        ("2026-03-03T00:30:00+08:00", "2026-03-03T07:00:00+08:00"),
        ("2026-03-03T06:59:59+08:00", "2026-03-03T07:00:00+08:00"),
        ("2026-03-03T07:00:00+08:00", None),
    ],
)
def test_quiet_hours_go_by_the_clock_of_their_time_zone_and_past_midnight(local: str, until: str | None) -> None:
    now = datetime.fromisoformat(local).astimezone(UTC)
    assert NIGHT.until(now) == (datetime.fromisoformat(until) if until else None)


def test_quiet_hours_of_one_day_end_on_it() -> None:
    lunch = Quiet(time(11, 30), time(13), "UTC")
    assert lunch.until(NOON) == NOON.replace(hour=13)
    assert lunch.until(NOON.replace(hour=13)) is None
    assert Quiet(time(9), time(9), "UTC").until(NOON.replace(hour=9)) is None


def test_quiet_hours_end_at_the_wall_clock_also_when_it_is_put_forward() -> None:
    night = Quiet(time(22), time(7), "Europe/Berlin")
    evening = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)  # 23:30 there; the clock jumps at 01:00 UTC
    assert night.until(evening) == datetime(2026, 3, 29, 5, 0, tzinfo=UTC)


def test_the_end_of_quiet_hours_always_lies_ahead() -> None:
    back = Quiet(time(1), time(2, 30), "Europe/Berlin")  # 02:30 comes twice on 25 October 2026
    moment = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    while moment < datetime(2026, 10, 25, 4, 0, tzinfo=UTC):
        until = back.until(moment)
        assert until is None or moment < until <= moment + timedelta(hours=3)
        moment += timedelta(minutes=5)


def test_critical_passes_quiet_hours_if_the_rule_says_so() -> None:
    midnight = datetime(2026, 3, 2, 16, 0, tzinfo=UTC)
    for passes in (True, False):
        rule = replace(ALL, quiet=NIGHT, critical_passes=passes)
        assert (rule.held_until("critical", midnight) is None) is passes
        assert rule.held_until("warning", midnight) is not None


def test_notifications_keep_their_distance() -> None:
    assert ALL.next_due(NOON, None) == NOON
    assert ALL.next_due(NOON, NOON - timedelta(seconds=10)) == NOON + timedelta(seconds=50)
    assert ALL.next_due(NOON, NOON - timedelta(hours=1)) == NOON


def test_patterns_are_separated_by_commas_or_blanks() -> None:
    assert patterns(" queue_full,data_*  node_offline ,") == ("queue_full", "data_*", "node_offline")
    assert patterns("") == ()
