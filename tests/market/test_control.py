"""The control plane on a real Kafka."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from market import bus, topic_admin, topics
from market.bus import KafkaUnavailable
from market.control import ControlConsumer, ControlPublisher, Record
from market.messages import InterestSyncRequest, decode_system
from tests.market import log
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers


class Reading:
    """A consumer in a thread, with what it has read."""

    def __init__(self, consumer: ControlConsumer) -> None:
        self.consumer = consumer
        self.read: list[Record] = []
        self._thread = threading.Thread(target=self._run, name="test_control_consumer")
        self._thread.start()

    def _run(self) -> None:
        for record in self.consumer:
            self.read.append(record)

    @property
    def keys(self) -> list[str]:
        return [record.key for record in self.read]

    def stop(self) -> None:
        self.consumer.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def _topics(stack: RunningStack) -> None:
    topic_admin.create_topics()


@pytest.fixture
def publisher() -> Iterator[ControlPublisher]:
    made = ControlPublisher("test.publisher")
    yield made
    made.close()


def _request(market: str = "cn") -> InterestSyncRequest:
    return InterestSyncRequest(timestamp=datetime.now(UTC), market=market)


def test_what_is_published_after_a_consumer_is_ready_is_read_and_nothing_before(publisher: ControlPublisher) -> None:
    publisher.publish(topics.SYSTEM_EVENTS, "before", _request())
    reading = Reading(ControlConsumer([topics.SYSTEM_EVENTS], "test.consumer"))
    try:
        assert reading.consumer.ready.wait(10)
        publisher.publish(topics.SYSTEM_EVENTS, "after", _request("hk"))
        eventually(lambda: reading.keys == ["after"])
        assert decode_system(reading.read[0].value).market == "hk"  # type: ignore[union-attr]
    finally:
        reading.stop()


def test_both_planes_put_a_key_into_the_same_partition(publisher: ControlPublisher) -> None:
    since = log.ends(topics.SYSTEM_EVENTS)
    producer = bus.make_producer("test.data-plane")
    names = [f"node-{number}" for number in range(20)]
    for name in names:
        publisher.publish(topics.SYSTEM_EVENTS, name, _request())
        producer.produce(topics.SYSTEM_EVENTS, key=name, value=b"{}")
    assert producer.flush(10) == 0

    places = {(m.key, m.partition) for m in log.read(topics.SYSTEM_EVENTS, since)}

    assert places == {(name, bus.partition_of(name, 3)) for name in names}


def test_who_reads_from_the_beginning_reads_what_was_published_before_it_came(publisher: ControlPublisher) -> None:
    for key in ("first", "last"):
        publisher.publish(topics.CONTROL_COMMANDS, key, _request())
    for name in ("test.one", "test.another"):  # nothing is committed: each reads all
        reading = Reading(ControlConsumer([topics.CONTROL_COMMANDS], name, from_end=False))
        try:
            eventually(partial(_has, reading, {"first", "last"}))
        finally:
            reading.stop()


def test_consumer_and_publisher_outlive_a_killed_broker(stack: RunningStack, publisher: ControlPublisher) -> None:
    reading = Reading(ControlConsumer([topics.SYSTEM_EVENTS], "test.survivor"))
    try:
        assert reading.consumer.ready.wait(10)
        publisher.publish(topics.SYSTEM_EVENTS, "before", _request())
        eventually(lambda: reading.keys == ["before"])

        os.kill(stack.processes()["kafka"], signal.SIGKILL)
        eventually(lambda: _publishes(publisher, "after"), timeout=60, saying="Kafka back")

        eventually(lambda: "after" in reading.keys, timeout=20)
        assert reading.keys.count("before") == 1
    finally:
        reading.stop()


def test_an_absent_broker_is_one_clear_error_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.control.bootstrap", lambda: "127.0.0.1:1")
    with pytest.raises(KafkaUnavailable, match=r"Kafka did not take a message for ginkgo\.live\.system\.events"):
        ControlPublisher("test.lonely", timeout=1.0).publish(topics.SYSTEM_EVENTS, "x", _request())


def _has(reading: Reading, keys: set[str]) -> bool:
    return keys <= set(reading.keys)


def _publishes(publisher: ControlPublisher, key: str) -> bool:
    try:
        publisher.publish(topics.SYSTEM_EVENTS, key, _request())
    except KafkaUnavailable:
        return False
    return True
