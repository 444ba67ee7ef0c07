"""Ask for a tick now, from any process: a Celery task, or nothing but a log line when the broker is away (SPEC S1)."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import transaction

from portfolios.command_log import system_user
from portfolios.models import Assignment
from portfolios.models.portfolio import DesiredState
from scheduler import commands, wires

log = logging.getLogger(__name__)

TICK = "scheduler.tick"
SETTLE = "scheduler.settle_moves"
EXPIRES = 30.0
"""Seconds: after these the beat has ticked anyway."""


def request_tick(reason: str) -> bool:
    """Have the scheduler tick at once. False if the request did not get through: the next beat does it then."""
    fault = wires.send_task(TICK, wires.SCHEDULER_QUEUE, EXPIRES, trigger=reason)
    if fault:
        log.warning("The scheduler was not asked to tick (%s), its next beat will: %s", reason, fault)
    return not fault


def request_settling() -> bool:
    """Have the moves under way looked at closely."""
    return not wires.send_task(SETTLE, wires.SCHEDULER_QUEUE, EXPIRES)


def on_desired_state_changed(sender: Any, portfolio_id: str, desired_state: str, asked_by: str = "", **_: Any) -> None:
    """A portfolio shall run, or shall not: after the commit, for the tick reads the database.

    Where a node has one that shall run, it is told so itself: it may have given up on it (`error`), and the tick, which
    finds the portfolio well placed, would leave it there.
    """
    transaction.on_commit(_tick_for_a_portfolio)
    if desired_state == DesiredState.RUNNING:
        transaction.on_commit(partial(_send, commands.PORTFOLIO_START, portfolio_id, {}, asked_by))


def on_config_changed(sender: Any, portfolio_id: str, version: int, asked_by: str = "", **_: Any) -> None:
    """A newer configuration: whoever runs the portfolio is told, and finds out by itself if it is not."""
    transaction.on_commit(partial(_send, commands.PORTFOLIO_RELOAD, portfolio_id, {"version": version}, asked_by))


def on_adjustment_asked(sender: Any, portfolio_id: str, asked_by: str = "", **_: Any) -> None:
    """A deposit waits: whoever runs the portfolio is told, and finds it by itself if it is not."""
    transaction.on_commit(partial(_send, commands.PORTFOLIO_ADJUST, portfolio_id, {}, asked_by))


def _tick_for_a_portfolio() -> None:
    request_tick("desired state changed")


def _send(command_type: str, portfolio_id: str, params: dict[str, Any], asked_by: str) -> None:
    owner = Assignment.objects.filter(portfolio_id=portfolio_id).exclude(node_id="").first()
    if owner is not None:
        commands.send(command_type, portfolio_id, owner.node_id, owner.epoch, params, asked_by or system_user())
