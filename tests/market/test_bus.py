from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from django.conf import settings
from kafka import KafkaProducer

from market import bus
from market.topics import SYSTEM_EVENTS
from tests.support.stack import RunningStack

TOPIC = SYSTEM_EVENTS


def test_without_an_address_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "GINKGO_RESOLVE", lambda: SimpleNamespace(kafka=None))
    with pytest.raises(bus.KafkaUnavailable, match="ginkgo stack start"):
        bus.bootstrap()


def test_what_went_wrong_is_said_in_words() -> None:
    told = KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "no leader"))
    assert bus.reason_of(told) == "no leader"
    assert bus.reason_of(bus.KafkaUnavailable("no topic")) == "no topic"


def test_the_partitions_are_those_of_the_java_client() -> None:
    """From Kafka's own tests of murmur2 (UtilsTest.testMurmur2)."""
    hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for key, value in hashes.items():
        assert bus.partition_of(key, 2**31) == value & 0x7FFFFFFF


def test_all_producers_put_a_key_where_we_look_for_it(topics: RunningStack) -> None:
    """librdkafka's and kafka-python's; the engine, the nodes and the feeds count on it."""
    landed: dict[str, set[int]] = {}
    keys = [f"60{n:04}.SH" for n in range(30)] + [str(uuid4()) for _ in range(10)]
    ours = bus.make_producer("test")
    for key in keys:
        ours.produce(
            TOPIC, key=key, value=b"x",
            on_delivery=lambda error, m: landed.setdefault(m.key().decode(), set()).add(m.partition()),
        )  # fmt: skip
    assert ours.flush(20) == 0
    theirs = KafkaProducer(bootstrap_servers=bus.bootstrap().split(","))
    for key in keys:
        sent = theirs.send(TOPIC, key=key.encode(), value=b"x").get(20)
        landed.setdefault(key, set()).add(sent.partition)
    theirs.close()
    assert landed == {key: {bus.partition_of(key, 3)} for key in keys}


def test_a_consumer_reads_what_it_is_assigned_and_commits_nothing(topics: RunningStack) -> None:
    key = str(uuid4())
    producer = bus.make_producer("test")
    producer.produce(TOPIC, key=key, value=b"there")
    assert producer.flush(20) == 0
    consumer = bus.make_consumer("test")
    try:
        consumer.assign([TopicPartition(TOPIC, bus.partition_of(key, 3), 0)])
        found = []
        while not any(m.key() == key.encode() for m in found):
            found += [m for m in consumer.consume(100, 5) if m.error() is None]
        assert consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)[0].offset < 0
    finally:
        consumer.close()


def test_no_consumer_resets_an_offset_by_itself(topics: RunningStack) -> None:
    consumer = bus.make_consumer("test")
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 10**9)])
        message = consumer.poll(20)
        assert message is not None
        assert message.error().code() == KafkaError._AUTO_OFFSET_RESET
    finally:
        consumer.close()


def test_an_option_of_the_callers_wins(topics: RunningStack) -> None:
    producer = bus.make_producer("test", **{"message.timeout.ms": 1})
    failed: list[object] = []
    producer.produce("no-such-topic-anywhere", value=b"x", on_delivery=lambda error, _: failed.append(error))
    producer.flush(20)
    assert failed[0] is not None


def test_brokers_that_are_away_are_one_line_and_not_ten_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "GINKGO_RESOLVE", lambda: SimpleNamespace(kafka="127.0.0.1:1"))
    producer = bus.make_producer("lonely", **{"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 10})
    calls = 0
    while calls < 20:
        calls += producer.poll(1.0)
    assert [record.name for record in caplog.records] == ["market.bus"]
    assert "lonely" in caplog.text and "refused" in caplog.text
    assert capfd.readouterr().err == ""
