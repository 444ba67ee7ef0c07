"""Sending commands to nodes: a row in the command log and a Celery task on the node's queue (SPEC S7, N11).

A command is a hint. If the broker is away the row says so and the caller goes on; the node's reconciliation is the
guarantee.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from market.dispatcher import EXPIRES
from portfolios.models import Command
from portfolios.models.command import CommandState
from scheduler import wires

log = logging.getLogger(__name__)

PORTFOLIO_START = "portfolio.start"
PORTFOLIO_STOP = "portfolio.stop"
PORTFOLIO_RELOAD = "portfolio.reload"
PORTFOLIO_ADJUST = "portfolio.adjust"
MIGRATE_OUT = "portfolio.migrate_out"
MIGRATE_IN = "portfolio.migrate_in"
NODE_DRAIN = "node.drain"
NODE_SHUTDOWN = "node.shutdown"
COMMAND_TYPES = frozenset(
    {
        *(PORTFOLIO_START, PORTFOLIO_STOP, PORTFOLIO_RELOAD, PORTFOLIO_ADJUST),
        *(MIGRATE_OUT, MIGRATE_IN, NODE_DRAIN, NODE_SHUTDOWN),
    }
)

EXECUTE = "nodes.tasks.execute"
_SWEEP_GRACE = timedelta(seconds=5)


def node_queue(node_id: str) -> str:
    return f"node.{node_id}"


def send(
    command_type: str,
    target_id: str,
    node_id: str,
    epoch: int | None = None,
    params: dict[str, Any] | None = None,
    issued_by: str = "scheduler",
) -> Command:
    """Record the command and put it on the queue of `node_id`; a broker that is away leaves it `failed`.

    Raises ValueError for a type no node knows, django.db.Error when the database is away.
    """
    if command_type not in COMMAND_TYPES:
        raise ValueError(f"no command type {command_type}; there are {', '.join(sorted(COMMAND_TYPES))}")
    command = Command.objects.create(
        command_type=command_type,
        target_id=target_id,
        node_id=node_id,
        epoch=epoch,
        params=params or {},
        issued_by=issued_by[:150],
        expires_at=datetime.now(UTC) + timedelta(seconds=EXPIRES),
    )
    fault = wires.send_task(
        EXECUTE,
        node_queue(node_id),
        EXPIRES,
        command_id=command.command_id,
        command_type=command_type,
        target_id=target_id,
        epoch=epoch,
        params=command.params,
    )
    if fault:
        log.warning("Command %s for %s was not sent: %s", command_type, target_id, fault)
        result = f"not sent: {fault}"[:500]
        Command.objects.filter(command_id=command.command_id, state=CommandState.SENT).update(
            state=CommandState.FAILED, result=result, finished_at=datetime.now(UTC)
        )
        command.state, command.result = CommandState.FAILED, result
    return command


def cancel(command_id: str, reason: str, now: datetime) -> bool:
    """Take back a command that nobody has begun. False if somebody has, or it is over."""
    waiting = Command.objects.filter(command_id=command_id, state=CommandState.SENT)
    return bool(waiting.update(state=CommandState.EXPIRED, result=reason[:500], finished_at=now))


def sweep(now: datetime) -> int:
    """Mark as expired what nobody began in time; how many."""
    late = Command.objects.filter(state=CommandState.SENT, expires_at__lt=now - _SWEEP_GRACE)
    return late.update(state=CommandState.EXPIRED, result="nobody began it in time", finished_at=now)
