"""One dispatcher behind both doors, Celery's and Kafka's: each command is executed once (SPEC N11).

A command only makes happen now what reconciliation would do a little later, so most of them are one wake-up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection

from portfolios.models import Command
from portfolios.models.command import CommandState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A command as it came in, whichever door it came by."""

    command_id: str
    command_type: str
    target_id: str
    epoch: int | None
    params: dict[str, Any]
    door: str


class Refused(Exception):
    """The command cannot be carried out; the message says why."""


Handler = Callable[[Order], str]


class Dispatcher:
    """`handlers` by command type; each returns what came of it, or raises Refused."""

    def __init__(self, node_id: str, handlers: dict[str, Handler]) -> None:
        self._node_id = node_id
        self._handlers = handlers
        self.executed = 0

    def execute(self, order: Order) -> str:
        """Carry it out unless somebody has; the state it is left in. Safe from any thread, any number of times."""
        try:
            if not self._claim(order):
                log.info("Command %s (%s) was already executed or has expired", order.command_id, order.command_type)
                return "repeated"
        except DatabaseError as error:
            # Without MySQL nothing can be claimed; reconciliation does it when it is back.
            log.warning("Command %s (%s) is left to reconciliation: %s", order.command_id, order.command_type, error)
            connection.close()
            return CommandState.FAILED
        state, result = self._run(order)
        self._finish(order, state, result)
        return state

    def _run(self, order: Order) -> tuple[CommandState, str]:
        handler = self._handlers.get(order.command_type)
        if handler is None:
            log.warning("Unknown command: %s (%s)", order.command_type, order.command_id)
            return CommandState.REJECTED, f"unknown command {order.command_type}"
        log.info("Received %s command for %s", order.command_type.upper().replace("PORTFOLIO.", ""), order.target_id)
        try:
            result = handler(order)
        except Refused as refusal:
            return CommandState.REJECTED, str(refusal)
        except Exception as error:  # whatever a handler raises ends in the command's row, and in the log
            log.exception("Command %s (%s) failed", order.command_id, order.command_type)
            return CommandState.FAILED, f"{type(error).__name__}: {error}"
        self.executed += 1
        return CommandState.DONE, result

    def _claim(self, order: Order) -> bool:
        now = datetime.now(UTC)
        Command.objects.get_or_create(
            command_id=order.command_id,
            defaults={
                "command_type": order.command_type[:40],
                "target_id": order.target_id[:100],
                "node_id": self._node_id,
                "epoch": order.epoch,
                "params": order.params,
                "door": order.door,
                "issued_by": order.door,
            },
        )
        claimed = Command.objects.filter(command_id=order.command_id, state=CommandState.SENT).update(
            state=CommandState.RUNNING, started_at=now, node_id=self._node_id
        )
        return claimed == 1

    def _finish(self, order: Order, state: CommandState, result: str) -> None:
        try:
            Command.objects.filter(command_id=order.command_id).update(
                state=state, result=result[:500], finished_at=datetime.now(UTC)
            )
        except DatabaseError as error:
            log.warning("Command %s is %s, but MySQL was not told: %s", order.command_id, state, error)
            connection.close()
