"""The Kafka clients with which portfolios catch up, kept for the next who joins (SPEC N7).

A new client has to find its brokers first. That takes some 30 ms, now and then most of a second, and a portfolio that
moves or takes over a configuration stands still for as long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer

_KEPT = 2


class Readers:
    """`make` makes one that is meant for `assign()` and reports the end of a partition. Any number are lent at once."""

    def __init__(self, make: Callable[[], Consumer], keep: int = _KEPT) -> None:
        self._make = make
        self._keep = keep
        self._lock = threading.Lock()
        self._idle: list[Consumer] = []

    @contextmanager
    def lend(self) -> Iterator[Consumer]:
        """One with nothing assigned. Give it back so; after an error it is not used again."""
        with self._lock:
            consumer = self._idle.pop() if self._idle else None
        if consumer is None:
            consumer = self._make()
        try:
            yield consumer
        except BaseException:
            consumer.close()
            raise
        with self._lock:
            kept = len(self._idle) < self._keep
            if kept:
                self._idle.append(consumer)
        if not kept:
            consumer.close()

    def close(self) -> None:
        """Close those that nobody has; from now on none is kept."""
        with self._lock:
            self._keep = 0
            idle, self._idle = self._idle, []
        for consumer in idle:
            consumer.close()
