"""Reads the log of alerts, for two readers that do not wait for each other: one stores, one notifies.

Each keeps its own place beside what it made of the alerts, under Kafka's id of the topic: what is read twice is known,
and a topic that was deleted and made anew is read from its beginning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec
from django.db import DatabaseError, close_old_connections
from kafka import TopicPartition

from alerts.errors import StoreAway
from alerts.store import AlertStore
from market import topic_admin, topics
from market.bus import KafkaUnavailable
from market.control import ControlConsumer, Record
from market.messages import Alert, decode_alert
from market.poison import UNDECODABLE

log = logging.getLogger(__name__)

_SAME_LOG_EVERY = 30.0
_LONGEST_PAUSE = 10.0
_SAY_EVERY = 60.0


class Arrived(NamedTuple):
    """An alert and where it stands in the log."""

    partition: int
    offset: int
    alert: Alert


class Sink(Protocol):
    """Where a reader's alerts go. Both methods raise StoreAway or DatabaseError when what keeps them is away."""

    name: str

    def place(self, log_id: str) -> Mapping[int, int]:
        """The next offset of each partition of this log; nothing for a log it has never read."""

    def take(self, log_id: str, batch: Sequence[Arrived], upto: Mapping[int, int]) -> None:
        """Make of `batch` what is to be made of it, and keep `upto` as the place. Repeating it must be harmless."""


class Poison(Protocol):
    def skip(self, topic: str, partition: int, offset: int, error: Exception) -> None: ...


class AlertReader:
    """One reader of the log: `run` feeds `sink` until `stop` is set, and outlives Kafka's and the sink's absence."""

    def __init__(self, sink: Sink, stop: threading.Event, poison: Poison | None = None) -> None:
        """`poison`: who accounts for what cannot be decoded; one of the readers is enough."""
        self._sink = sink
        self._stop = stop
        self._poison = poison
        self._said = float("-inf")
        self.read = 0

    def run(self) -> None:
        pause = 0.5
        while not self._stop.is_set():
            try:
                self._read_on()
                pause = 0.5
            except (KafkaUnavailable, StoreAway, DatabaseError) as error:
                self._say(error)
                close_old_connections()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _read_on(self) -> None:
        """From the sink's place on, until the topic is another one or `stop` is set."""
        log_id = _log_id()
        upto = dict(self._sink.place(log_id))
        start = {TopicPartition(topics.ALERTS, partition): offset for partition, offset in upto.items()}
        consumer = ControlConsumer(
            [topics.ALERTS], f"alerts.{self._sink.name}", from_end=False, stop=self._stop, start=start
        )
        checked = time.monotonic()
        batches = consumer.batches()
        try:
            for records in batches:
                if time.monotonic() - checked > _SAME_LOG_EVERY:
                    checked = time.monotonic()
                    if self._is_another(log_id):
                        return
                if records:
                    self._hand_over(log_id, records, upto)
        finally:
            batches.close()

    def _hand_over(self, log_id: str, records: Sequence[Record], upto: dict[int, int]) -> None:
        batch = [arrived for record in records if (arrived := self._decoded(record)) is not None]
        upto.update({record.partition: record.offset + 1 for record in records})
        pause = 0.5
        while not self._stop.is_set():
            try:
                self._sink.take(log_id, batch, upto)
                self.read += len(records)
                return
            except (StoreAway, DatabaseError) as error:
                self._say(error)
                close_old_connections()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _decoded(self, record: Record) -> Arrived | None:
        try:
            alert = decode_alert(record.value)
        except UNDECODABLE as error:
            if self._poison is not None:
                self._poison.skip(record.topic, record.partition, record.offset, error)
            return None
        if alert.timestamp.tzinfo is None:
            alert = msgspec.structs.replace(alert, timestamp=alert.timestamp.replace(tzinfo=UTC))
        return Arrived(record.partition, record.offset, alert)

    def _is_another(self, log_id: str) -> bool:
        try:
            found = _log_id()
        except KafkaUnavailable as error:
            log.debug("%s: cannot ask for the topic's id: %s", self._sink.name, error)
            return False
        if found != log_id:
            log.warning("%s: topic %s was made anew, reading it from its beginning", self._sink.name, topics.ALERTS)
        return found != log_id

    def _say(self, error: Exception) -> None:
        if time.monotonic() - self._said > _SAY_EVERY:
            self._said = time.monotonic()
            reason = " ".join(str(error).split())
            log.warning("The %s of alerts waits, the log keeps them meanwhile: %s", self._sink.name, reason)


class Recorder:
    """The sink that stores every alert in MongoDB."""

    name = "recorder"

    def __init__(self, store: AlertStore) -> None:
        self._store = store

    def place(self, log_id: str) -> Mapping[int, int]:
        kept, offsets = self._store.place(self.name)
        return offsets if kept == log_id else {}

    def take(self, log_id: str, batch: Sequence[Arrived], upto: Mapping[int, int]) -> None:
        alerts = [arrived.alert for arrived in batch]
        now = datetime.now(UTC)
        try:
            self._store.add(alerts, now)
        except StoreAway:
            raise
        except Exception:
            # Nothing that somebody publishes may stop the others' alerts: what cannot be stored is found, and left out.
            log.exception("A batch of %d alerts cannot be stored as a whole", len(alerts))
            self._one_by_one(alerts, now)
        self._store.keep_place(self.name, log_id, upto)

    def _one_by_one(self, alerts: Sequence[Alert], now: datetime) -> None:
        for alert in alerts:
            try:
                self._store.add([alert], now)
            except StoreAway:
                raise
            except Exception:
                log.exception("Alert %s of %s cannot be stored and is left out", alert.alert_id, alert.source)


def _log_id() -> str:
    """Kafka's id of the topic. Raises KafkaUnavailable, also while there is none."""
    found = topic_admin.topic_ids([topics.ALERTS]).get(topics.ALERTS)
    if found is None:
        raise KafkaUnavailable(f"topic {topics.ALERTS} does not exist: create it with 'ginkgo data init'")
    return found
