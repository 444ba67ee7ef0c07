"""Reads a topic as a stranger would: by a consumer of its own, between two places of the log."""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from market import bus
from tests.support import eventually


class Message(NamedTuple):
    partition: int
    offset: int
    key: str
    value: bytes


def ends(topic: str) -> dict[int, int]:
    """The end offset of each partition, once a broker that has just come back leads them all again."""
    consumer = bus.make_consumer("test.ends")

    def asked() -> dict[int, int]:
        try:
            return {
                p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in _of(consumer, topic)
            }
        except KafkaException as error:
            raise AssertionError(str(error)) from None

    try:
        return eventually(asked, timeout=30, interval=0.2)
    finally:
        consumer.close()


def read(topic: str, since: dict[int, int]) -> list[Message]:
    """Everything from `since` to the end as of now, partition by partition."""
    until = ends(topic)
    consumer = bus.make_consumer("test.reader")
    try:
        consumer.assign([TopicPartition(topic, p, since.get(p, 0)) for p in until])
        wanted = sum(until[p] - since.get(p, 0) for p in until)
        found: list[Message] = []
        while len(found) < wanted:
            message = consumer.poll(10)
            assert message is not None, f"{len(found)} of {wanted} messages could be read"
            assert message.error() is None, message.error()
            found.append(
                Message(message.partition(), message.offset(), (message.key() or b"").decode(), message.value() or b"")
            )
        return sorted(found[:wanted])
    finally:
        consumer.close()


def _of(consumer: Consumer, topic: str) -> list[int]:
    return sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
