"""Planned moves: the source hands over, or the scheduler takes the epoch when its time is up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from portfolios.models import Command, Portfolio
from portfolios.models.command import CommandState
from portfolios.models.portfolio import DesiredState
from portfolios.ownership import Ownership, hand_over
from scheduler import cycle, moves
from scheduler.models import Plan, PlannedMove
from tests.scheduler.conftest import Clock, Herd, owner_of

pytestmark = pytest.mark.servers

Make = Callable[..., str]


@pytest.fixture
def moving(herd: Herd, portfolio: Make, clock: Clock) -> str:
    """A portfolio of n1 that has been asked to move to n2."""
    portfolio("p1", "n1", 3)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    assert moves.begin(owner_of("p1"), "n2", "test", clock())
    return "p1"


def test_the_source_is_asked_with_the_epoch_and_the_target(herd: Herd, moving: str) -> None:
    (sent,) = herd.queue("n1")
    assert (sent["command_type"], sent["target_id"], sent["epoch"]) == ("portfolio.migrate_out", "p1", 3)
    assert sent["params"]["target"] == "n2"
    assert Command.objects.get(command_id=sent["command_id"]).state == CommandState.SENT


def test_it_is_asked_once(herd: Herd, moving: str, clock: Clock) -> None:
    assert not moves.begin(owner_of("p1"), "n2", "again", clock())
    assert len(herd.queue("n1")) == 1


def test_until_the_source_answers_nothing_changes(moving: str, clock: Clock) -> None:
    clock.forward(29)
    assert cycle.check(clock).open_moves == 1
    assert owner_of("p1") == Ownership("p1", "n1", 3)


def test_when_the_source_has_handed_over_the_target_is_told(
    herd: Herd, moving: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert hand_over(owner_of("p1"), "n2", "the source's last checkpoint")
    clock.forward(1.5)
    with caplog.at_level(logging.INFO):
        assert cycle.check(clock).open_moves == 0
    (sent,) = herd.queue("n2")
    assert (sent["command_type"], sent["epoch"]) == ("portfolio.migrate_in", 4)
    assert "Portfolio p1 migrated successfully" in caplog.text
    assert "Migration completed in 1.5s" in caplog.text
    assert not PlannedMove.objects.exists()


def test_a_move_is_settled_without_waiting_for_the_next_check(herd: Herd, moving: str, clock: Clock) -> None:
    assert cycle.settle(clock) == 1
    assert hand_over(owner_of("p1"), "n2", "the source's last checkpoint")
    assert cycle.settle(clock) == 0
    assert herd.queue("n2")[0]["command_type"] == "portfolio.migrate_in"
    assert Plan.objects.first().placements == {"p1": ["n2", 4]}


def test_one_that_is_asked_for_while_the_others_are_looked_at_is_left_alone(
    moving: str, portfolio: Make, clock: Clock
) -> None:
    portfolio("p2", "n1", 1)
    asked: list[bool] = []

    def meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not asked and sql.startswith("SELECT") and "portfolios_assignment" in sql:
            asked.append(True)
            assert moves.begin(owner_of("p2"), "n2", "test", clock())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        cycle.settle(clock)
    assert set(moves.under_way()) == {"p1", "p2"}


def test_past_its_deadline_the_scheduler_takes_the_epoch(herd: Herd, moving: str, clock: Clock) -> None:
    clock.forward(31)
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n2", 4)
    assert herd.queue("n2")[0]["command_type"] == "portfolio.migrate_in"
    assert Command.objects.get(command_type="portfolio.migrate_out").state == CommandState.EXPIRED


def test_a_deadline_by_a_clock_that_is_minutes_ahead_is_not_waited_for(
    herd: Herd, portfolio: Make, clock: Clock
) -> None:
    portfolio("p1", "n1", 3)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    assert moves.begin(owner_of("p1"), "n2", "test", clock() + timedelta(minutes=10))
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n2", 4)


def test_a_source_that_answers_after_the_deadline_changes_nothing(moving: str, clock: Clock) -> None:
    late = owner_of("p1")
    clock.forward(31)
    cycle.check(clock)
    assert hand_over(late, "n2", "too late", lambda: True) is None
    assert owner_of("p1").epoch == 4


def test_a_source_that_dies_on_the_way_is_not_waited_for(herd: Herd, moving: str, clock: Clock) -> None:
    herd.die("n1")
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n2", 4)


def test_a_move_to_a_node_that_dies_is_called_off(herd: Herd, moving: str, clock: Clock) -> None:
    herd.die("n2")
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n1", 3)
    assert not PlannedMove.objects.exists()
    assert Command.objects.get(command_type="portfolio.migrate_out").state == CommandState.EXPIRED


def test_a_portfolio_stopped_on_the_way_is_not_moved(herd: Herd, moving: str, clock: Clock) -> None:
    Portfolio.objects.update(desired_state=DesiredState.STOPPED)
    cycle.check(clock)
    assert not PlannedMove.objects.exists()
    assert owner_of("p1").node_id == "n1"
    assert "portfolio.stop" in [c["command_type"] for c in herd.queue("n1")]


def test_moves_under_way_count_against_the_budget_of_a_tick(herd: Herd, portfolio: Make, clock: Clock) -> None:
    for i in range(16):
        portfolio(f"p{i:02}", "n1", 1)
    herd.beat("n1", "n2", places=20)
    cycle.tick(clock=clock)
    assert PlannedMove.objects.count() == 5
    cycle.tick(clock=clock)
    assert PlannedMove.objects.count() == 5


def test_a_scheduler_killed_after_writing_the_move_leaves_one_that_ends(
    herd: Herd, portfolio: Make, clock: Clock
) -> None:
    """Killed before the command was sent: the row alone is enough to finish at the deadline."""
    portfolio("p1", "n1", 3)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    PlannedMove.objects.create(
        portfolio_id="p1", source="n1", target="n2", epoch=3, started_at=clock(), deadline=clock()
    )
    clock.forward(1)
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n2", 4)
