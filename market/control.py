"""The control plane: a publisher and a consumer on kafka-python for commands, plans, system events and alerts.

Control messages are few and are hints (reconciliation is the guarantee), so both are simple: the publisher waits for
the broker's answer, the consumer keeps its own positions and outlives broker restarts. kafka-python logs every failed
connection attempt; here that becomes one line of ours a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from market.bus import KafkaUnavailable, bootstrap
from market.control_client import connected
from market.messages import encode

__all__ = ["ControlConsumer", "ControlPublisher", "KafkaUnavailable", "Record"]

log = logging.getLogger(__name__)

_POLL_MS = 200
_HOUSEKEEPING = 5.0
_RECONNECT = {"reconnect_backoff_ms": 100, "reconnect_backoff_max_ms": 1000, "retry_backoff_ms": 100}


class Record(NamedTuple):
    """A message as read: `key` as text (empty if it has none), `value` still encoded."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes


class ControlPublisher:
    """Publishes keyed messages, one acknowledged before the next. Thread-safe; connects at the first message.

    After a failure the connection is given up, so that the next message finds the brokers' addresses of then.
    """

    def __init__(self, client_id: str, timeout: float = 5.0) -> None:
        """`timeout`: seconds that one `publish` may take, connecting included."""
        self._client_id = client_id
        self._timeout = timeout
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None

    def publish(self, topic: str, key: str, message: msgspec.Struct) -> None:
        """Publish `message` and wait until all in-sync replicas have it. Raises KafkaUnavailable if that fails.

        It may then have arrived or not: a control message is repeated, not counted on.
        """
        deadline = time.monotonic() + self._timeout
        producer = None
        try:
            producer = self._connected()
            sent = producer.send(topic, key=key.encode(), value=encode(message))
            sent.get(max(0.05, deadline - time.monotonic()))
        except KafkaError as error:
            self._discard(producer)
            raise KafkaUnavailable(f"Kafka did not take a message for {topic}: {_short(error)}") from None

    def close(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            self._close(producer, self._timeout)

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                half = int(self._timeout * 500)
                self._producer = connected(
                    KafkaProducer,
                    bootstrap_servers=bootstrap().split(","),
                    client_id=self._client_id,
                    acks="all",
                    allow_auto_create_topics=False,
                    bootstrap_timeout_ms=half,
                    max_block_ms=half,
                    request_timeout_ms=half,
                    # Given up before `publish` stops waiting, so that nothing is sent after it has said it failed.
                    delivery_timeout_ms=int(self._timeout * 800),
                    **_RECONNECT,
                )
            return self._producer

    def _discard(self, producer: KafkaProducer | None) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        if producer is not None:
            self._close(producer, 0)

    def _close(self, producer: KafkaProducer, timeout: float) -> None:
        try:
            producer.close(timeout=timeout)
        except KafkaError as error:
            # Another thread's message is still on its way; its own failure will close the producer.
            log.debug("%s: closing: %s", self._client_id, error)


class ControlConsumer:
    """Iterates over the records of `topics` until `stop` is set, through broker restarts.

    Every consumer reads every partition, from the end as of its first connection (`from_end`; else from the beginning,
    or where `start` says), and goes on where it was after a reconnect. Nothing is committed: a control topic is short,
    and who reads it from its beginning knows what it has done by the command's id (a group of kafka-python 3.0 now and
    then never finds its coordinator again). `ready` is set once its positions stand: what is published after that will
    be read.
    """

    def __init__(
        self,
        topics: Sequence[str],
        client_id: str,
        from_end: bool = True,
        stop: threading.Event | None = None,
        start: Mapping[TopicPartition, int] | None = None,
        back: float = 0.0,
    ) -> None:
        """`start`: the next offset of each partition whose reader keeps its own place.

        `back`: with `from_end`, so many seconds before it.
        """
        self.stop = stop or threading.Event()
        self.ready = threading.Event()
        self._topics = tuple(topics)
        self._client_id = client_id
        self._from_end = from_end
        self._back = back
        self._consumer: KafkaConsumer | None = None
        self._address = ""
        self._checked = float("-inf")
        self._next: dict[TopicPartition, int] = dict(start or {})

    def __iter__(self) -> Iterator[Record]:
        for batch in self.batches():
            for record in batch:
                if self.stop.is_set():
                    return
                yield record

    def batches(self) -> Generator[list[Record], None, None]:
        """The records that came together, partition by partition; an empty list now and then while none come."""
        pause, silent_until = 0.2, 0.0
        try:
            while not self.stop.is_set():
                try:
                    batch = self._poll()
                    pause = 0.2
                except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                    self._begin_anew(error)
                    continue
                except (KafkaError, KafkaUnavailable) as error:
                    if time.monotonic() > silent_until:
                        silent_until = time.monotonic() + 60
                        log.warning("%s cannot read from Kafka, trying again: %s", self._client_id, _short(error))
                    self._disconnect()
                    self.stop.wait(pause)
                    pause = min(pause * 2, 5.0)
                    continue
                yield [_read(record) for records in batch.values() for record in records]
                # Only now: what the reader was given, it has worked off when it asks for the next.
                self._next.update({partition: records[-1].offset + 1 for partition, records in batch.items()})
        finally:
            self._disconnect()

    def _poll(self) -> dict[TopicPartition, list]:
        if self._consumer is None:
            self._connect()
        assert self._consumer is not None
        if time.monotonic() - self._checked > _HOUSEKEEPING:
            self._checked = time.monotonic()
            if bootstrap() != self._address or self._has_new_partitions():
                self._disconnect()
                self._connect()
        batch: dict[TopicPartition, list] = self._consumer.poll(timeout_ms=_POLL_MS)
        return batch

    def _connect(self) -> None:
        self._address = bootstrap()
        self._checked = time.monotonic()
        self._consumer = consumer = connected(
            KafkaConsumer,
            bootstrap_servers=self._address.split(","),
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=5000,
            request_timeout_ms=10_000,
            metadata_max_age_ms=30_000,
            **_RECONNECT,
        )
        partitions = self._partitions(consumer)
        consumer.assign(partitions)
        unknown = [p for p in partitions if p not in self._next]
        # From the end only the first time: a partition that is added later is read from its beginning.
        at_end = self._from_end and not self._next
        self._next.update(self._ends(consumer, unknown) if at_end else consumer.beginning_offsets(unknown))
        for partition in partitions:
            consumer.seek(partition, self._next[partition])
        self.ready.set()

    def _ends(self, consumer: KafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        if self._back and partitions:
            since = int((time.time() - self._back) * 1000)
            found = consumer.offsets_for_times(dict.fromkeys(partitions, since))
            ends |= {partition: at.offset for partition, at in found.items() if at is not None}
        return ends

    def _partitions(self, consumer: KafkaConsumer) -> list[TopicPartition]:
        found = []
        for topic in self._topics:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise KafkaUnavailable(f"topic {topic} does not exist: create it with 'ginkgo data init'")
            found += [TopicPartition(topic, number) for number in sorted(numbers)]
        return found

    def _has_new_partitions(self) -> bool:
        if self._consumer is None:
            return False
        return bool(set(self._partitions(self._consumer)) != self._consumer.assignment())

    def _begin_anew(self, error: KafkaError) -> None:
        """The log no longer has (or, made anew, does not yet have) the wanted offsets: go on with what it has."""
        lost = list(error.args[0]) if error.args and isinstance(error.args[0], dict) else list(self._next)
        log.warning("%s: the log does not have the wanted offsets, reading it from its beginning", self._client_id)
        for partition in lost:
            self._next.pop(partition, None)
        self._from_end = False
        self._disconnect()

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=1000)
            except KafkaError as error:
                log.debug("%s: closing: %s", self._client_id, error)


def _read(record: Any) -> Record:
    key = record.key.decode(errors="replace") if record.key else ""
    return Record(record.topic, record.partition, record.offset, key, record.value or b"")


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


class _OneLine(logging.Handler):
    """Of kafka-python's chatter, one line a minute once the brokers have not answered for a while."""

    _PATIENCE = 10.0
    _INTERVAL = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._since = self._seen = self._said = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "kafka.net.manager" or not record.msg.startswith("Connection failed"):
            return
        now = time.monotonic()
        if now - self._seen > self._INTERVAL:
            self._since = now
        self._seen = now
        if now - self._since > self._PATIENCE and now - self._said > self._INTERVAL:
            self._said = now
            log.warning("Kafka (control plane) does not answer, trying again: %s", record.getMessage())


def _quieten() -> None:
    chatter = logging.getLogger("kafka")
    chatter.setLevel(logging.ERROR)
    chatter.propagate = False
    chatter.handlers = [_OneLine()]


_quieten()
