"""What both readers share, on a real Kafka: their place, poison, a sink that is away, a topic that was made anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient

from alerts import stream
from alerts.errors import StoreAway
from alerts.stream import AlertReader, Arrived, Recorder
from market import bus, topics
from market.messages import Alert, encode
from market.topic_admin import create_topics
from tests.alerts import making
from tests.market import log
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers


class Kept:
    """A sink in memory that can be away."""

    name = "test"

    def __init__(self, places: dict[str, dict[int, int]]) -> None:
        self.places = places
        self.away = False
        self.messages: list[str] = []
        self.batches: list[Sequence[Arrived]] = []

    def place(self, log_id: str) -> Mapping[int, int]:
        return self.places.get(log_id, {})

    def take(self, log_id: str, batch: Sequence[Arrived], upto: Mapping[int, int]) -> None:
        if self.away:
            raise StoreAway("it is away")
        self.batches.append(batch)
        self.messages += [each.alert.message for each in batch]
        self.places[log_id] = dict(upto)


class Skipped:
    def __init__(self) -> None:
        self.places: list[tuple[str, int, int]] = []

    def skip(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        self.places.append((topic, partition, offset))


@pytest.fixture(autouse=True)
def _topics(stack: RunningStack) -> None:
    create_topics()


@pytest.fixture
def sink() -> Kept:
    """At the log's end as of now."""
    return Kept({stream._log_id(): log.ends(topics.ALERTS)})


@contextmanager
def reading(sink: Kept, poison: Skipped | None = None) -> Iterator[AlertReader]:
    stop = threading.Event()
    reader = AlertReader(sink, stop, poison)
    thread = threading.Thread(target=reader.run, name="test_reader")
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def publish(*values: bytes | str) -> None:
    producer = bus.make_producer("test.publish")
    for value in values:
        raw = value if isinstance(value, bytes) else encode(making.alert(message=value))
        producer.produce(topics.ALERTS, key="one-source", value=raw)
    assert producer.flush(20) == 0


def mine(sink: Kept, mark: str) -> list[str]:
    return [message for message in sink.messages if message.startswith(mark)]


def test_it_reads_from_its_place_on_and_skips_what_cannot_be_decoded(sink: Kept) -> None:
    mark, poison = uuid4().hex, Skipped()
    naive = encode(making.alert(message=f"{mark} naive")).replace(b"2026-03-02T12:00:00Z", b"2026-03-02T12:00:00")
    publish(f"{mark} 1", b"no json", b'{"event_type":"alert"}', naive, f"{mark} 2")
    with reading(sink, poison):
        eventually(lambda: len(mine(sink, mark)) == 3, timeout=20)
    assert mine(sink, mark) == [f"{mark} 1", f"{mark} naive", f"{mark} 2"]
    assert len(poison.places) == 2
    (given,) = [each.alert for batch in sink.batches for each in batch if each.alert.message == f"{mark} naive"]
    assert given.timestamp.tzinfo == UTC

    publish(f"{mark} 3")
    again = Kept(sink.places)
    with reading(again):
        eventually(lambda: mine(again, mark) == [f"{mark} 3"], timeout=20)


def test_a_sink_that_is_away_is_waited_for_and_nothing_is_left_out(sink: Kept) -> None:
    mark = uuid4().hex
    sink.away = True
    with reading(sink) as reader:
        publish(f"{mark} 1", f"{mark} 2")
        eventually(lambda: reader._said > 0, timeout=20)  # it has found the sink away
        publish(f"{mark} 3")
        sink.away = False
        eventually(lambda: mine(sink, mark) == [f"{mark} 1", f"{mark} 2", f"{mark} 3"], timeout=30)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(sink: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_SAME_LOG_EVERY", 0.5)
    before, after = uuid4().hex, uuid4().hex
    with reading(sink):
        publish(f"{before} 1")
        eventually(lambda: len(mine(sink, before)) == 1 and sink.places, timeout=20)
        admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap())
        admin.delete_topics([topics.ALERTS])
        admin.close()
        eventually(_made_anew, timeout=30)
        publish(*(f"{after} {n}" for n in range(5)))
        eventually(lambda: {f"{after} {n}" for n in range(5)} <= set(mine(sink, after)), timeout=60)
    assert len(sink.places) == 2


def test_one_alert_that_cannot_be_stored_keeps_no_other_from_being_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[str] = []

    class Store:
        def add(self, alerts: Sequence[Alert], now: object) -> int:
            if any(alert.message == "bad" for alert in alerts):
                raise ValueError("no")
            stored.extend(alert.message for alert in alerts)
            return len(alerts)

        def keep_place(self, name: str, log_id: str, offsets: Mapping[int, int]) -> None:
            assert stored == ["good", "better"]

    batch = [Arrived(0, n, making.alert(message=text)) for n, text in enumerate(("good", "bad", "better"))]
    Recorder(Store()).take("log", batch, {0: 3})  # type: ignore[arg-type]
    assert stored == ["good", "better"]


def _made_anew() -> bool:
    try:
        return create_topics()[topics.ALERTS] == "created"
    except bus.KafkaUnavailable as error:
        raise AssertionError(str(error)) from None
