"""Kafka's door to the button: `engine.start` and `engine.stop` on `control.commands`, each obeyed once (SPEC M3, N11).

Every engine reads the topic from its beginning (a week of few commands), so that a stop that was sent while none ran is
obeyed by the next; the command log knows what was obeyed already. A command that is older than the switch's last change
comes too late and changes nothing.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from django.db import Error as DatabaseError
from django.db import close_old_connections

from market import switch
from market.alerting import Alerter
from market.control import ControlConsumer, Record
from market.engine.transactions import writing
from market.messages import ControlCommand, decode_command
from market.poison import UNDECODABLE, PoisonCounter
from market.topics import CONTROL_COMMANDS
from portfolios.models import Command
from portfolios.models.command import CommandState

log = logging.getLogger(__name__)

_WANTED = {"engine.start": True, "engine.stop": False}
_PAUSE = 1.0


class CommandDoor:
    """`run` is its thread; `name` the engine's, under which the command log has it."""

    def __init__(self, name: str, alerter: Alerter) -> None:
        self._name = name
        self._poison = PoisonCounter(alerter)

    def run(self, stop: threading.Event) -> None:
        consumer = ControlConsumer([CONTROL_COMMANDS], f"ginkgo-{self._name}-control", from_end=False, stop=stop)
        for record in consumer:
            command = self._decode(record)
            while command is not None and command.command_type in _WANTED:
                try:
                    log.info("%s: %s", command.command_type, obey(command, self._name, datetime.now(UTC)))
                    break
                except DatabaseError as error:
                    log.warning("%s waits for the database: %s", command.command_type, error)
                    close_old_connections()
                    if stop.wait(_PAUSE):
                        return

    def _decode(self, record: Record) -> ControlCommand | None:
        try:
            command: ControlCommand = decode_command(record.value)
            return command
        except UNDECODABLE as error:
            self._poison.skip(record.topic, record.partition, record.offset, error)
            return None


def obey(command: ControlCommand, engine: str, now: datetime) -> str:
    """Put the switch as the command says, once, and write down what became of it. Raises django.db.Error."""
    with writing():
        Command.objects.get_or_create(
            command_id=command.command_id[:36],
            defaults={
                "command_type": command.command_type,
                "target_id": command.target_id[:100],
                "params": command.params,
                "issued_by": str(command.params.get("issued_by") or "")[:150],
                "door": "kafka",
            },
        )
        row = Command.objects.filter(command_id=command.command_id[:36], state=CommandState.SENT)
        if not row.update(state=CommandState.RUNNING, started_at=now, node_id=engine[:100]):
            return "known already"
        found = switch.read()
        sent_at = command.timestamp if command.timestamp.tzinfo else command.timestamp.replace(tzinfo=UTC)
        if found.changed_at is not None and sent_at <= found.changed_at:
            state, result = CommandState.REJECTED, f"too late: switched by {found.changed_by} after it"
        else:
            on = _WANTED[command.command_type]
            switch.turn(on, str(command.params.get("issued_by") or f"command {command.command_id[:8]}"))
            state, result = CommandState.DONE, "engines send orders" if on else "engines have stopped trading"
        Command.objects.filter(command_id=command.command_id[:36]).update(
            state=state, result=result[:500], finished_at=now
        )
    return result
