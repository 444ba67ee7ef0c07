"""Whether Kafka answers: asked twice a second, by the very client whose messages it is to take."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaException

from market.topics import ORDERS_SUBMISSION

log = logging.getLogger(__name__)

EVERY = 0.5
PATIENCE = 1.0
SILENT = 2.5
"""Seconds without an answer after which Kafka counts as away; with the question under way, less than five."""


class Client(Protocol):
    """A producer or a consumer of librdkafka."""

    def list_topics(self, topic: str, timeout: float) -> Any: ...


class Reach:
    """`away` from the moment at which Kafka has not answered for `SILENT` seconds until it answers again.

    `on_change` is told in the asking thread, with whether it is away and, once it is back, for how many seconds it was.
    """

    def __init__(self, client: Client, on_change: Callable[[bool, float], None] = lambda _away, _seconds: None) -> None:
        self._client = client
        self._on_change = on_change
        self._answered = time.monotonic()
        self._away = threading.Event()

    @property
    def away(self) -> bool:
        return self._away.is_set()

    def run(self, stop: threading.Event) -> None:
        """The thread: asks until `stop` is set."""
        self._answered = time.monotonic()
        while not stop.is_set():
            self.step()
            stop.wait(EVERY)

    def step(self) -> bool:
        """Ask once; whether there was an answer."""
        asked = time.monotonic()
        try:
            self._client.list_topics(ORDERS_SUBMISSION, timeout=PATIENCE)
        except KafkaException as error:
            if not self.away and time.monotonic() - self._answered >= SILENT:
                log.warning("Kafka does not answer: %s", error)
                self._away.set()
                self._on_change(True, 0.0)
            return False
        gone = asked - self._answered
        self._answered = time.monotonic()
        if self.away:
            self._away.clear()
            log.info("Kafka answers again, after %.1f s", gone)
            self._on_change(False, gone)
        return True
