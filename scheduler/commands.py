"""Sending commands to nodes: a row in the command log and a Celery task on the node's queue (SPEC S7, N11).

A command is a hint. If the broker is away the row says so and the caller goes on; the node's reconciliation is the
guarantee.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

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
NODE_ENABLE = "node.enable"
"""No node's to execute: the scheduler gives it portfolios again."""
REBALANCE = "scheduler.rebalance"
"""The scheduler's, and the name of its task."""
COMMAND_TYPES = frozenset(
    {
        *(PORTFOLIO_START, PORTFOLIO_STOP, PORTFOLIO_RELOAD, PORTFOLIO_ADJUST),
        *(MIGRATE_OUT, MIGRATE_IN, NODE_DRAIN, NODE_SHUTDOWN),
    }
)

EXECUTE = "nodes.tasks.execute"
SCHEDULER = "scheduler"
"""Who asks where the scheduler itself decides."""
KEEP = timedelta(days=90)
"""How long the log keeps a command. Engines read a week of `control.commands` anew and learn here what they obeyed."""
FORGET_AT_ONCE = 1_000
"""Rows that one round deletes at most: a log of many years shrinks without holding anybody up."""
_SWEEP_GRACE = timedelta(seconds=5)
_RUNS_AT_MOST = timedelta(minutes=5)
"""Handlers wake somebody or write a row; a hand-over takes up to `node.stop_timeout`, a balancing some rounds."""


def node_queue(node_id: str) -> str:
    return f"node.{node_id}"


def send(
    command_type: str,
    target_id: str,
    node_id: str,
    epoch: int | None = None,
    params: dict[str, Any] | None = None,
    issued_by: str = SCHEDULER,
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
        expires_at=_expiry(),
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
    return _failed(command, fault) if fault else command


def ask_scheduler(command_type: str, issued_by: str) -> Command:
    """Record a command to the scheduler itself and put it on its queue, as the task of that name; else like `send`."""
    command = Command.objects.create(
        command_type=command_type,
        target_id=wires.SOURCE,
        params={"issued_by": issued_by},
        issued_by=issued_by[:150],
        expires_at=_expiry(),
    )
    fault = wires.send_task(
        command_type, wires.SCHEDULER_QUEUE, EXPIRES, command_id=command.command_id, params=command.params
    )
    return _failed(command, fault) if fault else command


def cancel(command_id: str, reason: str, now: datetime) -> bool:
    """Take back a command that nobody has begun. False if somebody has, or it is over."""
    waiting = Command.objects.filter(command_id=command_id, state=CommandState.SENT)
    return bool(waiting.update(state=CommandState.EXPIRED, result=reason[:500], finished_at=now))


def sweep(now: datetime) -> int:
    """Mark as expired what nobody began in time, as failed what was begun and never ended; how many.

    Should one of the latter end after all, its executor writes over it what came of it.
    """
    late = Command.objects.filter(state=CommandState.SENT, expires_at__lt=now - _SWEEP_GRACE)
    expired = late.update(state=CommandState.EXPIRED, result="nobody began it in time", finished_at=now)
    before = now - max(_RUNS_AT_MOST, timedelta(seconds=2 * settings.GINKGO.node.stop_timeout))
    # By both times: the sender's clock and the executor's need not agree, and one of them may be far behind ours.
    begun = Command.objects.filter(state=CommandState.RUNNING, created_at__lt=before, started_at__lt=before)
    return expired + begun.update(state=CommandState.FAILED, result="its executor ended", finished_at=now)


def prune(now: datetime) -> int:
    """Delete the oldest of what is older than KEEP; how many."""
    # Two statements: MySQL takes no LIMIT in a subquery of a DELETE.
    old = Command.objects.filter(created_at__lt=now - KEEP).order_by("created_at")
    oldest = list(old.values_list("pk", flat=True)[:FORGET_AT_ONCE])
    return Command.objects.filter(pk__in=oldest).delete()[0] if oldest else 0


def _expiry() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=EXPIRES)


def _failed(command: Command, fault: str) -> Command:
    log.warning("Command %s for %s was not sent: %s", command.command_type, command.target_id, fault)
    command.state, command.result = CommandState.FAILED, f"not sent: {fault}"[:500]
    Command.objects.filter(command_id=command.command_id, state=CommandState.SENT).update(
        state=command.state, result=command.result, finished_at=datetime.now(UTC)
    )
    return command
