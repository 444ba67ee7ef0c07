"""The thread that reads orders back from Kafka, notes when each came, and answers it: outside of any node.

It answers `order_cancelled`, so that nothing stays open and nothing is ever held; an order that comes again gets the
answer that it got before, word for word, as from an engine.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from ginkgo_site.bench.errors import BenchError
from market import bus, topics
from market.messages import Feedback, OrderSubmission, decode_order, encode
from market.poison import UNDECODABLE

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_WAIT_S = 0.2


class Arrival(NamedTuple):
    """An order the first time that it was read: when, by the monotonic clock, of which epoch its message was, and the
    time of the tick that it follows from."""

    at: float
    order_id: str
    code: str
    epoch: int
    event_time: datetime


class Answers(threading.Thread):
    """`arrivals` by portfolio, in the order of their coming; `again` counts orders that came once more."""

    def __init__(self) -> None:
        super().__init__(name="bench_answers", daemon=True)
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        self.again = 0
        self._answers: dict[str, bytes] = {}
        self._stopping = threading.Event()
        self._error: Exception | None = None

    def __enter__(self) -> Answers:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(10)

    def check(self) -> None:
        """Raises BenchError if it has died."""
        if self._error is not None:
            raise BenchError(f"orders can no longer be read back: {self._error}")

    def times(self, portfolio_id: str) -> list[float]:
        return [each.at for each in self.arrivals[portfolio_id]]

    def since_epoch(self, portfolio_id: str, epoch: int, later: datetime = LONG_AGO) -> float | None:
        """When the first new order came of this epoch, or one after it, on a tick later than that."""
        for each in list(self.arrivals[portfolio_id]):
            if each.epoch >= epoch and each.event_time > later:
                return each.at
        return None

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - said by `check` to whoever waits for it
            self._error = error

    def _work(self) -> None:
        topic = topics.ORDERS_SUBMISSION
        consumer, producer = bus.make_consumer("bench.answers"), bus.make_producer("bench.answers")
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while not self._stopping.is_set():
            message = consumer.poll(_WAIT_S)
            now = time.monotonic()
            if message is None or message.error() is not None:
                continue
            try:
                order = decode_order(message.value())
            except UNDECODABLE:
                continue
            if isinstance(order, OrderSubmission):
                producer.produce(topics.ORDERS_FEEDBACK, key=order.portfolio_id, value=self._answer(order, now))
            producer.poll(0)
        producer.flush(5)
        consumer.close()

    def _answer(self, order: OrderSubmission, now: float) -> bytes:
        known = self._answers.get(order.order_id)
        if known is not None:
            self.again += 1
            return known
        arrivals = self.arrivals[order.portfolio_id]
        arrivals.append(Arrival(now, order.order_id, order.code, order.epoch, order.timestamp))
        made = self._answers[order.order_id] = encode(
            Feedback(
                event_type="order_cancelled",
                timestamp=order.timestamp,
                order_id=order.order_id,
                portfolio_id=order.portfolio_id,
                seq=1,
                pseq=len(arrivals),
                status="cancelled",
                reason="a benchmark",
            )
        )
        return made
