"""Publishes the outbox: every answer reaches Kafka at least once, a portfolio's in the order of their `pseq` (SPEC M2).

A row stays unpublished until Kafka has confirmed it, so a crash in between repeats the message; its `pseq` makes that
harmless. Of a portfolio, what comes after an unconfirmed row is not marked either: it is all published again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market.engine.transactions import writing
from market.models import OutboxMessage
from market.topics import ORDERS_FEEDBACK

log = logging.getLogger(__name__)

_BATCH = 500
_SWEEP = 0.5
_PAUSE = 0.5
ROUND_TRIP = 30.0

Row = tuple[int, str, str]
"""Id, portfolio, message."""


class Outbox:
    """Publishes the rows of portfolios that are `mine`. `wake` it after a transaction that added some."""

    def __init__(self, producer: Producer, mine: Callable[[str], bool]) -> None:
        """`producer` is idempotent and gives up on a message within `ROUND_TRIP` seconds."""
        self._producer = producer
        self._mine = mine
        self._news = threading.Event()
        self.failing = False

    def wake(self) -> None:
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """The thread: publishes until `stop` is set; looks on its own every half second, if nobody wakes it."""
        while not stop.is_set():
            self._news.wait(_SWEEP)
            self._news.clear()
            try:
                while not stop.is_set() and self.publish(stop=stop) == _BATCH:
                    pass
                self.failing = False
            except (KafkaException, BufferError, DatabaseError) as error:
                if _is_fatal(error):
                    raise
                if not self.failing:
                    log.warning("Feedback waits in the outbox, trying again: %s", error)
                self.failing = True
                close_old_connections()
                stop.wait(_PAUSE)

    def publish(self, timeout: float = ROUND_TRIP, stop: threading.Event | None = None) -> int:
        """Publish what is not published, one batch; how many rows that settled.

        Raises KafkaException when some were not confirmed in `timeout` seconds, django.db.Error when the database is
        away. In both cases they are published again.
        """
        rows = list(self._pending())
        if not rows:
            return 0
        confirmed: set[int] = set()
        for row in rows:
            self._send(row, confirmed)
        deadline = time.monotonic() + timeout
        while len(confirmed) < len(rows) and time.monotonic() < deadline:
            self._producer.poll(0.05)
            # Nothing in flight any more: what is not confirmed by now has failed.
            if len(self._producer) == 0 or (stop is not None and stop.is_set()):
                break
        settled = list(_in_order(rows, confirmed))
        if settled:
            with writing():
                OutboxMessage.objects.filter(id__in=settled).update(published=True)
        if len(settled) < len(rows):
            raise KafkaException(f"Kafka did not confirm {len(rows) - len(settled)} of {len(rows)} messages")
        return len(settled)

    def drain(self, timeout: float) -> bool:
        """At the end: publish all there is within `timeout` seconds; whether nothing is left."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                if not self.publish(left):
                    return True
            except (KafkaException, BufferError, DatabaseError) as error:
                log.warning("Feedback stays in the outbox until the next start: %s", error)
                return False
        return False

    def _pending(self) -> Iterator[Row]:
        """The oldest unpublished rows that are mine, in their order."""
        last, found = 0, 0
        while found < _BATCH:
            rows = OutboxMessage.objects.filter(published=False, id__gt=last).order_by("id")
            page = list(rows.values_list("id", "portfolio_id", "message")[:_BATCH])
            for row in page:
                if self._mine(row[1]) and found < _BATCH:
                    found += 1
                    yield row
            if len(page) < _BATCH:
                return
            last = page[-1][0]

    def _send(self, row: Row, confirmed: set[int]) -> None:
        id_, portfolio_id, message = row

        def delivered(error: object, _: Message) -> None:
            if error is None:
                confirmed.add(id_)
            else:
                log.warning("Feedback %s was not delivered: %s", id_, error)
                confirmed.discard(id_)

        self._producer.produce(ORDERS_FEEDBACK, key=portfolio_id, value=message.encode(), on_delivery=delivered)


def _in_order(rows: list[Row], confirmed: set[int]) -> Iterator[int]:
    """The rows that are confirmed together with all that precede them in their portfolio."""
    held_up: set[str] = set()
    for id_, portfolio_id, _ in rows:
        if id_ not in confirmed:
            held_up.add(portfolio_id)
        elif portfolio_id not in held_up:
            yield id_


def _is_fatal(error: Exception) -> bool:
    """The producer itself is beyond repair: only a new one helps."""
    return bool(error.args) and isinstance(error.args[0], KafkaError) and error.args[0].fatal()
