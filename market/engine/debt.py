"""Pays what is owed to the log: orders that came straight from nodes are published once Kafka is back.

They are in the books since they came, so the log's copy is a repetition to every engine, and its answer one to the
portfolio. It carries the epoch of the day, as every resend does: a former owner's would be taken for a stale one's. A
debt stands until Kafka has confirmed its message, so a crash in between repeats it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market.engine.transactions import writing
from market.messages import decode_order, encode
from market.models import LogDebt
from market.topics import ORDERS_SUBMISSION
from portfolios.models import Assignment

log = logging.getLogger(__name__)

_BATCH = 500
_EVERY = 1.0
_PATIENCE = 30.0


class Debt:
    """Of the portfolios that are `mine`. `away` says that it is no use to try."""

    def __init__(self, producer: Producer, mine: Callable[[str], bool], away: Callable[[], bool]) -> None:
        """`producer` is idempotent and gives up on a message within half a minute."""
        self._producer = producer
        self._mine = mine
        self._away = away
        self._failing = False

    def run(self, stop: threading.Event) -> None:
        """The thread: looks every second, until `stop` is set."""
        while not stop.wait(_EVERY):
            try:
                while not stop.is_set() and not self._away() and self.pay(stop=stop):
                    pass
                self._failing = False
            except (KafkaException, BufferError, DatabaseError) as error:
                if error.args and isinstance(error.args[0], KafkaError) and error.args[0].fatal():
                    raise  # only a new producer helps
                if not self._failing:
                    log.warning("Orders that came straight are not in the log yet, trying again: %s", error)
                self._failing = True
                close_old_connections()

    def pay(self, timeout: float = _PATIENCE, stop: threading.Event | None = None) -> int:
        """Publish what is owed, one batch in its order; how many messages the log has by that.

        Raises KafkaException when some were not confirmed within `timeout` seconds, django.db.Error when the database
        is away: those are published again.
        """
        debtors = LogDebt.objects.order_by().values_list("portfolio_id", flat=True).distinct()
        mine = [portfolio_id for portfolio_id in debtors if self._mine(portfolio_id)]
        if not mine:
            return 0
        owed = list(LogDebt.objects.filter(portfolio_id__in=mine).order_by("id")[:_BATCH])
        epochs = dict(Assignment.objects.filter(portfolio_id__in=mine).values_list("portfolio_id", "epoch"))
        confirmed: set[int] = set()
        for row in owed:
            self._send(row, epochs.get(row.portfolio_id), confirmed)
        deadline = time.monotonic() + timeout
        while len(confirmed) < len(owed) and time.monotonic() < deadline:
            self._producer.poll(0.05)
            # Nothing in flight any more: what is not confirmed by now has failed.
            if len(self._producer) == 0 or (stop is not None and stop.is_set()):
                break
        if confirmed:
            with writing():
                LogDebt.objects.filter(id__in=confirmed).delete()
            log.info("%d orders and cancels that came straight are in the log now", len(confirmed))
        if len(confirmed) < len(owed):
            raise KafkaException(f"Kafka did not confirm {len(owed) - len(confirmed)} of {len(owed)} messages")
        return len(confirmed)

    def _send(self, row: LogDebt, epoch: int | None, confirmed: set[int]) -> None:
        message = decode_order(row.message.encode())
        if epoch is not None:
            message = msgspec.structs.replace(message, epoch=epoch)

        def delivered(error: object, _: Message) -> None:
            if error is None:
                confirmed.add(row.id)

        self._producer.produce(ORDERS_SUBMISSION, key=row.portfolio_id, value=encode(message), on_delivery=delivered)
