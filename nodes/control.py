"""The thread behind Kafka's door: plan updates, control commands, and requests for the node's interest (SPEC N11)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from market import topics
from market.control import ControlConsumer
from market.messages import (
    ControlCommand,
    InterestSyncRequest,
    ScheduleUpdate,
    decode_command,
    decode_schedule,
    decode_system,
)
from market.poison import UNDECODABLE, PoisonCounter
from nodes.thread import NodeThread

log = logging.getLogger(__name__)


class ControlListener(NodeThread):
    """Reads from the end: what was said while this node was away, reconciliation has already found out."""

    def __init__(
        self,
        node_id: str,
        poison: PoisonCounter,
        on_schedule: Callable[[ScheduleUpdate], None],
        on_command: Callable[[ControlCommand], None],
        on_interest_request: Callable[[InterestSyncRequest], None],
    ) -> None:
        super().__init__(f"schedule_updates_{node_id}")
        self._node_id = node_id
        self._poison = poison
        self._on_schedule = on_schedule
        self._on_command = on_command
        self._on_interest_request = on_interest_request
        self._consumer = ControlConsumer(
            (topics.SCHEDULE_UPDATES, topics.CONTROL_COMMANDS, topics.SYSTEM_EVENTS),
            client_id=f"{node_id}.control",
            stop=self.stopping,
        )

    def work(self) -> None:
        for topic, partition, offset, _key, value in self._consumer:
            try:
                self._handle(topic, value)
            except UNDECODABLE as error:
                self._poison.skip(topic, partition, offset, error)

    def _handle(self, topic: str, value: bytes) -> None:
        if topic == topics.SCHEDULE_UPDATES:
            update = decode_schedule(value)
            if isinstance(update, ControlCommand):
                self._on_command(update)
            elif update.node_id == self._node_id:
                self._on_schedule(update)
        elif topic == topics.CONTROL_COMMANDS:
            self._on_command(decode_command(value))
        else:
            event = decode_system(value)
            if isinstance(event, InterestSyncRequest):
                self._on_interest_request(event)
