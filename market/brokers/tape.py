"""Reads just the partitions of market data in which orders wait, from any place in the log, forwards and again.

A partition that is being read keeps its latest messages in memory, without gaps, so that an order which comes a few
milliseconds after its tick needs no second reading; one that comes later moves the partition back to where it must
begin. Whoever reads a tape has cursors of its own, so that reading again is harmless. Used by one thread.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from market.messages import decode_price
from market.poison import UNDECODABLE

log = logging.getLogger(__name__)

_KEPT = 4096
_BATCH = 500
_LOOK_BACK = timedelta(seconds=30)
_ASK_TIMEOUT = 5.0

Place = tuple[str, int]
"""A partition: topic and number."""


class Line(NamedTuple):
    """One message of a partition, undecoded."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes


@dataclass
class _Reading:
    """A partition being read. `recent` has every message from `first` up to (not including) `next`.

    `unproven`: it was moved to a time by the broker's clock, and its first message must not be younger than this
    event time, else it is moved further back (`reach`).
    """

    first: int
    next: int
    recent: deque[Line] = field(default_factory=lambda: deque(maxlen=_KEPT))
    unproven: datetime | None = None
    since: datetime | None = None
    reach: timedelta = _LOOK_BACK


class Tape:
    """`gap(place, wanted, found)` is told when the log no longer has (or does not yet have) what is wanted."""

    def __init__(self, consumer: Consumer, gap: Callable[[Place, int, int], None]) -> None:
        self._consumer = consumer
        self._gap = gap
        self._reading: dict[Place, _Reading] = {}
        self._astray: set[Place] = set()

    @property
    def places(self) -> set[Place]:
        return set(self._reading)

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises KafkaException while nobody can say."""
        metadata = self._consumer.list_topics(topic, timeout=_ASK_TIMEOUT).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise KafkaException(metadata.error or KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return len(metadata.partitions)

    def next(self, place: Place) -> int:
        """The offset up to which the place was read; 0 if it is not being read."""
        reading = self._reading.get(place)
        return 0 if reading is None else reading.next

    def end(self, place: Place) -> int:
        """The offset of the next message to be written there. Raises KafkaException."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_TIMEOUT)[1])

    def read_from(self, place: Place, offset: int) -> Iterator[Line]:
        """Have `place` read from `offset` on. What of that was read already is returned, the rest comes by `poll`.

        Raises KafkaException; nothing has then changed.
        """
        offset = max(offset, 0)
        reading = self._reading.get(place)
        if reading is not None and reading.first <= offset <= reading.next:
            return _from(reading, offset)
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_TIMEOUT)
        if offset < low:
            self._gap(place, offset, low)
            offset = low
        if reading is not None and offset > reading.next:
            return iter(())  # it comes by and by
        self._move(place, min(offset, high))
        return iter(())

    def read_after(self, place: Place, moment: datetime, since: datetime) -> Iterator[Line]:
        """Have `place` read from some message that is not younger than `moment`, by its event time.

        `since` is a time of production near which to look first. As `read_from`.
        """
        reading = self._reading.get(place)
        if reading is not None and reading.recent and _event_time(reading.recent[0], moment) <= moment:
            return _from(reading, reading.first)
        if reading is not None and reading.unproven is not None:
            # Still looking for its beginning: then for one that serves both.
            moment, since = min(moment, reading.unproven), min(since, reading.since or since)
        self._look_back(place, moment, since, _LOOK_BACK)
        return iter(())

    def leave(self, place: Place) -> None:
        """Stop reading a partition."""
        if self._reading.pop(place, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def poll(self, timeout: float) -> list[Line]:
        """The next messages of all partitions being read, waiting up to `timeout` seconds for the first.

        Raises KafkaException; nothing is lost by it.
        """
        self._find_again()
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        lines = []
        for message in (first, *self._consumer.consume(_BATCH, 0)):
            line = self._line(message)
            if line is not None and self._take(line):
                lines.append(line)
        return lines

    def close(self) -> None:
        self._reading.clear()
        self._consumer.close()

    def _line(self, message: Message) -> Line | None:
        error = message.error()
        if error is None:
            topic = sys.intern(message.topic())  # each message has a string of its own
            return Line(topic, message.partition(), message.offset(), message.key() or b"", message.value() or b"")
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._astray.add((message.topic(), message.partition()))
        else:
            log.warning("Market data: %s", error.str())
        return None

    def _take(self, line: Line) -> bool:
        """Whether the line is the next of its partition and may be shown."""
        place = (line.topic, line.partition)
        reading = self._reading.get(place)
        if reading is None or line.offset < reading.next or place in self._astray:
            return False
        if reading.unproven is not None:
            if _event_time(line, reading.unproven) > reading.unproven:
                self._astray.add(place)
                return False
            reading.unproven = None
        if len(reading.recent) == _KEPT:
            reading.first = reading.recent[0].offset + 1
        reading.recent.append(line)
        reading.next = line.offset + 1
        return True

    def _find_again(self) -> None:
        """Partitions that began too late, or whose log has not what was asked of it, begin elsewhere."""
        for place in list(self._astray):
            reading = self._reading.get(place)
            if reading is not None and reading.unproven is not None:
                self._look_back(place, reading.unproven, reading.since, reading.reach * 10)
            elif reading is not None:
                low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_TIMEOUT)
                found = low if reading.next < low else high
                self._gap(place, reading.next, found)
                self._move(place, found)
            self._astray.discard(place)

    def _look_back(self, place: Place, moment: datetime, since: datetime | None, reach: timedelta) -> None:
        assert since is not None
        try:
            asked = since - reach
        except OverflowError:
            asked = datetime.fromtimestamp(0, since.tzinfo)
        milliseconds = max(int(asked.timestamp() * 1000), 0)
        at = self._consumer.offsets_for_times([TopicPartition(*place, milliseconds)], timeout=_ASK_TIMEOUT)[0]
        if at.error is not None:
            raise KafkaException(at.error)
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_TIMEOUT)
        # One earlier, so that where nothing is as young, there is still a message to judge by.
        start = max((at.offset if at.offset >= 0 else high) - 1, low)
        self._move(place, start)
        reading = self._reading[place]
        if start > low:
            reading.unproven, reading.since, reading.reach = moment, since, reach

    def _move(self, place: Place, offset: int) -> None:
        log.debug("Reading %s:%s from %s", *place, offset)
        partition = TopicPartition(*place, offset)
        if place in self._reading:
            self._consumer.seek(partition)
        else:
            self._consumer.incremental_assign([partition])
        self._reading[place] = _Reading(offset, offset)


def _from(reading: _Reading, offset: int) -> Iterator[Line]:
    behind = []
    for line in reversed(reading.recent):
        if line.offset < offset:
            break
        behind.append(line)
    return reversed(behind)


def _event_time(line: Line, otherwise: datetime) -> datetime:
    try:
        return decode_price(line.value).timestamp
    except UNDECODABLE:
        return otherwise
