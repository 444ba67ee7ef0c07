"""Kafka's log as a test writes and reads it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from confluent_kafka import Producer, TopicPartition

from market.bus import bootstrap, make_consumer, make_producer
from market.messages import Feedback, PriceUpdate, decode_feedback, encode
from market.topics import ORDERS_FEEDBACK, market_topic


@cache
def _producer(_: str) -> Producer:
    """One for all: each takes a second to begin."""
    return make_producer("test-feed")


class Feed:
    """Writes ticks, each a second of event time after the last; `at` is the last one's place as a cause."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._producer = _producer(bootstrap())

    def tick(self, code: str, price: float, seconds: float = 1.0, **fields: Any) -> str:
        """Where it stands in the log: `topic:partition:offset`."""
        self.now += timedelta(seconds=seconds)
        update = PriceUpdate(code=code, timestamp=self.now, price=price, **{"prev_close": price, **fields})
        return self.write(market_topic(code), code, encode(update))

    def write(self, topic: str, key: str, value: bytes) -> str:
        places: list[str] = []

        def delivered(error: object, message: Any) -> None:
            assert error is None, error
            places.append(f"{message.topic()}:{message.partition()}:{message.offset()}")

        self._producer.produce(topic, key=key, value=value, on_delivery=delivered)
        assert self._producer.flush(20) == 0
        return places[0]


class FeedbackReader:
    """Reads what is published on the feedback topic from now on."""

    def __init__(self) -> None:
        self._consumer = make_consumer("test-feedback", **{"auto.offset.reset": "latest"})
        places = [TopicPartition(ORDERS_FEEDBACK, n) for n in range(10)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=20)[1]
        self._consumer.assign(places)
        self.seen: list[tuple[int, Feedback]] = []

    def read(self, timeout: float = 0.2) -> list[tuple[int, Feedback]]:
        """All (partition, feedback) so far, after having waited up to `timeout` for more."""
        for message in self._consumer.consume(1000, timeout):
            assert message.error() is None, message.error()
            assert message.key().decode() == decode_feedback(message.value()).portfolio_id
            self.seen.append((message.partition(), decode_feedback(message.value())))
        return self.seen

    def close(self) -> None:
        self._consumer.close()
