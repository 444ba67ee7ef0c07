"""One dispatcher behind both doors, Celery's and Kafka's: each command is executed once, or refused (SPEC N11).

A node has one, and the scheduler, for what is not a node's to decide. A command only makes happen now what
reconciliation would do a little later, or says what is wanted; the command log has the fate of each.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from market.messages import ControlCommand
from portfolios.models import Assignment, Command
from portfolios.models.command import CommandState

log = logging.getLogger(__name__)

EXPIRES = 30.0
"""Seconds after which a command that nobody has begun is worth nothing."""
_PAUSE = 1.0
"""Seconds between two tries to reach a database that is away."""
_AWAY = (OperationalError, InterfaceError)
"""What its drivers raise then; any other error is about what was asked."""


@dataclass(frozen=True)
class Order:
    """A command as it came in, whichever door it came by. `expires_at` None: as the command log says."""

    command_id: str
    command_type: str
    target_id: str
    epoch: int | None
    params: dict[str, Any]
    door: str
    expires_at: datetime | None = None

    @property
    def issued_by(self) -> str:
        return str(self.params.get("issued_by") or self.door)


def order_of(command: ControlCommand) -> Order:
    """As it came by Kafka: it expires by its own timestamp, for nobody else has noted when it was sent."""
    sent_at = command.timestamp if command.timestamp.tzinfo else command.timestamp.replace(tzinfo=UTC)
    epoch = command.params.get("epoch")
    return Order(
        command_id=command.command_id[:36],
        command_type=command.command_type,
        target_id=command.target_id,
        epoch=epoch if isinstance(epoch, int) else None,
        params=command.params,
        door="kafka",
        expires_at=sent_at + timedelta(seconds=EXPIRES),
    )


def insist(act: Callable[[Order], str], order: Order, stop: threading.Event) -> str:
    """What `act` makes of an order that came by Kafka; while the database is away, again each second until it expires.

    It comes once, and nothing reconciles a wish that nobody has written down. `stop` ends the wait.
    """
    while True:
        # Between two orders lie hours: what is open by then may be gone, and what is opened is not to be kept.
        close_old_connections()
        late = order.expires_at is None or datetime.now(UTC) >= order.expires_at
        try:
            return act(order)
        except DatabaseError as error:
            what = f"Command {order.command_id} ({order.command_type})"
            if late or not isinstance(error, _AWAY):
                log.error("%s is given up: %s", what, error)
                return CommandState.FAILED
            log.warning("%s waits for the database: %s", what, error)
        finally:
            close_old_connections()
        if stop.wait(_PAUSE):
            return CommandState.FAILED


class Refused(Exception):
    """The command cannot be carried out; the message says why."""


Handler = Callable[[Order], str]


class Dispatcher:
    """`handlers` by command type; each returns what came of it, or raises Refused. `node_id` empty: no node's."""

    def __init__(self, node_id: str, handlers: dict[str, Handler]) -> None:
        self._node_id = node_id
        self._handlers = handlers
        self._begun = ""
        """What `attempt` has claimed and could not carry out yet."""
        self.executed = 0

    def execute(self, order: Order) -> str:
        """Carry it out unless somebody has; the state it is left in. Safe from any thread, any number of times."""
        try:
            refusal = self._claim(order)
            if refusal is not None:
                return refusal
        except DatabaseError as error:
            # Without MySQL nothing can be claimed; reconciliation does it when it is back.
            log.warning("Command %s (%s) is left to reconciliation: %s", order.command_id, order.command_type, error)
            connection.close()
            return CommandState.FAILED
        state, result = self._run(order)
        self._finish(order, state, result)
        return state

    def attempt(self, order: Order) -> str:
        """Like `execute`, for one thread alone, and for what no reconciliation would do.

        Raises django.db.Error when the database is away; given again, the order goes on from where it was.
        """
        if self._begun != order.command_id:
            refusal = self._claim(order)
            if refusal is not None:
                return refusal
            self._begun = order.command_id
        state, result = self._run(order, passing=_AWAY)
        self._begun = ""
        self._finish(order, state, result)
        return state

    def note(self, order: Order) -> None:
        """Write down that it was sent, for somebody else to execute: unclaimed, it expires. Raises django.db.Error."""
        Command.objects.get_or_create(
            command_id=order.command_id,
            defaults={
                "command_type": order.command_type[:40],
                "target_id": order.target_id[:100],
                "node_id": self._node_id,
                "epoch": order.epoch,
                "params": order.params,
                "door": order.door,
                "issued_by": order.issued_by[:150],
                "expires_at": order.expires_at,
            },
        )

    def _run(self, order: Order, passing: tuple[type[Exception], ...] = ()) -> tuple[CommandState, str]:
        handler = self._handlers.get(order.command_type)
        if handler is None:
            log.warning("Unknown command: %s (%s)", order.command_type, order.command_id)
            return CommandState.REJECTED, f"unknown command {order.command_type}"
        log.info("Received %s command for %s", order.command_type.upper().replace("PORTFOLIO.", ""), order.target_id)
        try:
            _refuse_if_stale(order)
            result = handler(order)
        except Refused as refusal:
            log.warning("Command %s (%s) is refused: %s", order.command_id, order.command_type, refusal)
            return CommandState.REJECTED, str(refusal)
        except passing:
            raise
        except Exception as error:  # whatever a handler raises ends in the command's row, and in the log
            log.exception("Command %s (%s) failed", order.command_id, order.command_type)
            return CommandState.FAILED, f"{type(error).__name__}: {error}"
        self.executed += 1
        return CommandState.DONE, result

    def _claim(self, order: Order) -> str | None:
        """None: it is ours to execute; else what became of it."""
        now = datetime.now(UTC)
        self.note(order)
        mine = Command.objects.filter(command_id=order.command_id, state=CommandState.SENT)
        row = mine.first()
        if row is not None and row.expires_at is not None and row.expires_at < now:
            mine.update(state=CommandState.EXPIRED, result="it came too late", finished_at=now)
            log.warning("Command %s (%s) came too late: not executed", order.command_id, order.command_type)
            return CommandState.EXPIRED
        if mine.update(state=CommandState.RUNNING, started_at=now, node_id=self._node_id) == 1:
            return None
        log.info("Command %s (%s) was already executed or has expired", order.command_id, order.command_type)
        return "repeated"

    def _finish(self, order: Order, state: CommandState, result: str) -> None:
        try:
            Command.objects.filter(command_id=order.command_id).update(
                state=state, result=result[:500], finished_at=datetime.now(UTC)
            )
        except DatabaseError as error:
            log.warning("Command %s is %s, but MySQL was not told: %s", order.command_id, state, error)
            connection.close()


def _refuse_if_stale(order: Order) -> None:
    """A command names the epoch it was meant for; after that another owner may do otherwise. Raises Refused."""
    if order.epoch is None or not order.command_type.startswith("portfolio."):
        return
    rows = Assignment.objects.filter(portfolio_id=order.target_id)
    current = rows.values_list("epoch", flat=True).first()
    if current is not None and order.epoch < current:
        raise Refused(f"stale: it was meant for epoch {order.epoch}, which is over (now {current})")
