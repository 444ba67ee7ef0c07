"""The tests' hand on the real log: publish, read back, and the log consumers under test, running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition as AdminPartition

from market import bus, topics
from market.messages import decode_price, encode
from nodes.consumer import LogConsumer
from nodes.subscription import Position
from portfolios.kernel.events import Event
from tests.nodes.support import Alerts, tick


class Log:
    def __init__(self) -> None:
        self.producer: Producer = bus.make_producer("test", linger_ms=5)
        self._running: list[LogConsumer] = []
        self._reader: Consumer = bus.make_consumer("test.reader")

    def ticks(self, code: str, numbers: range, **fields: Any) -> None:
        """Publish the ticks of these numbers and wait until Kafka has them."""
        for number in numbers:
            self.producer.produce(topics.market_topic(code), key=code, value=encode(tick(number, code, **fields)))
            self.producer.poll(0)
        self.flush()

    def raw(self, topic: str, key: str, value: bytes | None) -> None:
        self.producer.produce(topic, key=key, value=value)
        self.flush()

    def flush(self) -> None:
        assert self.producer.flush(20) == 0

    def end(self, position: Position) -> int:
        """The offset of the next message."""
        return int(self._reader.get_watermark_offsets(TopicPartition(*position), timeout=10, cached=False)[1])

    def ends(self, *codes: str) -> dict[Position, int]:
        return {position_of(code): self.end(position_of(code)) for code in codes}

    def truncate(self, position: Position) -> int:
        """As retention does: drop all there is. The first offset held from now on."""
        admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap().split(","))
        end = self.end(position)
        try:
            admin.delete_records({AdminPartition(*position): end})
        finally:
            admin.close()
        return end

    def consumer(self, alerts: Alerts, decode: Callable[[bytes], Event] = decode_price) -> LogConsumer:
        """A log consumer, its thread running until the test is over."""
        one = LogConsumer("market_t", lambda: bus.make_consumer("test.market"), decode, alerts.alerter)
        one.start()
        self._running.append(one)
        return one

    def close(self) -> None:
        for one in self._running:
            one.request_stop()
        for one in self._running:
            one.join(10)
        self._reader.close()


def position_of(code: str) -> Position:
    return topics.market_topic(code), bus.partition_of(code, 10)
