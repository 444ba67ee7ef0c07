"""An in-memory Kafka with the face of confluent-kafka: a log, producers that lose what a crash finds in flight,
consumers by assignment, and one consumer group that rebalances, expires members and refuses their late commits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from market import topics
from market.bus import partition_of
from tests.protocol.hub import Process, Task, hub

PARTITIONS = {topics.MARKET_DATA["cn"]: 2, topics.ORDERS_SUBMISSION: 2, topics.ORDERS_FEEDBACK: 2}

_PATIENCE = 10.0
"""Seconds after which a producer gives a message up."""

Place = tuple[str, int]
Record = tuple[bytes, bytes]


class Message:
    __slots__ = ("_key", "_offset", "_partition", "_topic", "_value")

    def __init__(self, topic: str, partition: int, offset: int, record: Record) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset
        self._key, self._value = record

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def error(self) -> None:
        return None


class Log:
    """`heard` is told of each message that is appended: by which process, where, and what."""

    def __init__(self) -> None:
        self.places: dict[Place, list[Record]] = {
            (topic, partition): [] for topic, count in PARTITIONS.items() for partition in range(count)
        }
        self.readers: list[Task] = []
        self.heard: Callable[[Process, str, int, int, bytes], None] = lambda *_: None
        self.group = Group(self)
        self.away = False
        """Nobody answers: what is produced times out, nothing is read."""
        self.cut = False
        """Nodes do not reach it with their orders; all else goes on."""
        self.absent: list[Task] = []
        self.unsettled: list[Consumer] = []
        self.failing = 0.0
        """The share of deliveries that fail: half of them are in the log all the same."""

    def come_back(self) -> None:
        self.away = self.cut = False
        for consumer in self.unsettled:
            if consumer.stored and consumer.process.alive:
                with contextlib.suppress(KafkaException):
                    self.group.commit(consumer)
        self.unsettled.clear()
        hub().wake(self.absent)
        hub().wake(self.readers)

    def ask(self) -> None:
        """Raises KafkaException while it is away."""
        hub().pause()
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def append(self, process: Process, topic: str, key: str, value: bytes) -> None:
        partition = partition_of(key, PARTITIONS[topic])
        records = self.places[topic, partition]
        records.append((key.encode(), value))
        self.heard(process, topic, partition, len(records) - 1, value)
        if self.readers:
            hub().wake(self.readers)


class Producer:
    """What is in flight is a thread of the producer's process: it dies with it, frozen it stands still."""

    def __init__(self, log: Log, process: Process) -> None:
        self._log = log
        self._process = process
        self._flying: list[tuple[str, str, bytes, Any]] = []
        self._reports: list[tuple[Any, KafkaError | None]] = []
        self._waiting: list[Task] = []
        self._busy = False

    def produce(self, topic: str, key: str, value: bytes, on_delivery: Any = None) -> None:
        hub().pause()
        if self._log.failing and hub().chance() < self._log.failing / 4:
            raise BufferError("the queue is full")
        self._flying.append((topic, key, value, on_delivery))
        if not self._busy:
            self._busy = True
            hub().spawn(self._process, "delivery", self._deliver)

    def _deliver(self) -> None:
        while self._flying:
            hub().pause()
            topic, key, value, on_delivery = self._flying[0]
            error = None
            fate = hub().chance() if self._log.failing else 1.0
            away = self._log.away or (self._log.cut and self._process.kind == "node")
            if away and not hub().wait(self._log.absent, _PATIENCE):
                error, fate = KafkaError(KafkaError._MSG_TIMED_OUT), 1.0
            if fate < self._log.failing:
                error = KafkaError(KafkaError._MSG_TIMED_OUT)
            if error is None or fate < self._log.failing / 2:
                self._log.append(self._process, topic, key, value)
            self._flying.pop(0)
            if on_delivery is not None:
                self._reports.append((on_delivery, error))
                hub().wake(self._waiting)
        self._busy = False

    def poll(self, timeout: float = 0) -> int:
        if not self._reports and timeout:
            hub().wait(self._waiting, timeout)
        count = 0
        while self._reports:
            on_delivery, error = self._reports.pop(0)
            on_delivery(error, None)
            count += 1
        return count

    def flush(self, timeout: float = 0) -> int:
        deadline = hub().now + timeout
        while len(self) and hub().now < deadline:
            self.poll(max(0.01, deadline - hub().now))
        return len(self)

    def __len__(self) -> int:
        return len(self._flying) + len(self._reports)


class Consumer:
    """Reads assigned partitions, in an order among them that is anybody's guess, a few messages at a time."""

    def __init__(self, log: Log, process: Process, group: bool = False) -> None:
        self._log = log
        self.process = process
        self._at: dict[Place, int] = {}
        self._read: dict[Place, int] = {}
        self.stored: dict[Place, int] = {}
        self._group = group
        self.callbacks: dict[str, Any] = {}

    # -- assignment ------------------------------------------------------------------------------------------------

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._at = {(tp.topic, tp.partition): tp.offset for tp in partitions}
        self._read = {}

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            self._at[tp.topic, tp.partition] = tp.offset
            self._read.pop((tp.topic, tp.partition), None)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            self._at.pop((tp.topic, tp.partition), None)

    def unassign(self) -> None:
        self._at = {}

    def position(self, partitions: list[TopicPartition]) -> list[Any]:
        return [
            SimpleNamespace(
                topic=tp.topic, partition=tp.partition, offset=self._read.get((tp.topic, tp.partition), OFFSET_INVALID)
            )
            for tp in partitions
        ]

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float = 0) -> list[TopicPartition]:
        """Of their beginning or their end."""
        self._log.ask()
        found = []
        for tp in partitions:
            end = len(self._log.places[tp.topic, tp.partition])
            found.append(TopicPartition(tp.topic, tp.partition, 0 if tp.offset == OFFSET_BEGINNING else end))
        return found

    # -- reading ---------------------------------------------------------------------------------------------------

    def poll(self, timeout: float = 0) -> Message | None:
        if self._group and not self._log.away:
            self._log.group.serve(self)
        found = self._take(1)
        if not found and timeout:
            hub().wait(self._log.readers, timeout)
            found = self._take(1)
        return found[0] if found else None

    def consume(self, count: int, timeout: float = 0) -> list[Message]:
        found = self._take(count)
        if not found and timeout:
            hub().wait(self._log.readers, timeout)
            found = self._take(count)
        return found

    def _take(self, count: int) -> list[Message]:
        if self._log.away:
            return []
        places = self._log.places
        behind = [place for place, at in self._at.items() if at < len(places[place])]
        if not behind:
            return []
        hub().pause()
        if not all(place in self._at for place in behind):
            return []
        chance = hub().chance
        if len(behind) > 1 and chance() < 0.5:
            behind.reverse()
        found: list[Message] = []
        for place in behind:
            at, records = self._at[place], places[place]
            end = min(len(records), at + 1 + int(chance() * 4), at + count - len(found))
            for offset in range(at, end):
                found.append(Message(*place, offset, records[offset]))
            if end > at:
                self._at[place] = self._read[place] = end
        return found

    # -- the group ---------------------------------------------------------------------------------------------------

    def subscribe(self, _topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.callbacks = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost}
        self._log.group.join(self)

    def list_topics(self, topic: str, timeout: float = 0) -> Any:
        if self._log.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=dict.fromkeys(range(PARTITIONS[topic])))})

    def store_offsets(self, message: Message) -> None:
        place = (message.topic(), message.partition())
        if place not in self._at:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.stored[place] = message.offset() + 1

    def commit(self, asynchronous: bool = True) -> None:
        hub().pause()
        if self._log.away:
            if not asynchronous:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            self._log.unsettled.append(self)  # the client goes on trying by itself
            return
        if not self.stored:
            raise KafkaException(KafkaError(KafkaError._NO_OFFSET))
        self._log.group.commit(self)

    def close(self) -> None:
        if self._group:
            self._log.group.leave(self)
        self._at = {}


class Group:
    """The engines' consumer group, with the eager protocol: all let go, then each is given its share."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.members: list[Consumer] = []
        self.committed: dict[Place, int] = {}
        self._holding: dict[int, list[Place]] = {}
        self._joined: set[int] = set()
        self._given: dict[int, list[Place]] = {}
        self._lost: set[int] = set()
        self._balanced = True

    def join(self, member: Consumer) -> None:
        self.members.append(member)
        self._rebalance()

    def leave(self, member: Consumer) -> None:
        if member in self.members:
            if self._holding.get(id(member)):
                self._call(member, "revoke")
            self.members.remove(member)
            self._rebalance()

    def expire(self, process: Process) -> None:
        """Its heartbeats have not come for the session's time."""
        for member in [each for each in self.members if each.process is process]:
            self.members.remove(member)
            self._lost.add(id(member))
            self._given.pop(id(member), None)
            self._rebalance()

    def expired(self, process: Process) -> bool:
        return not any(each.process is process for each in self.members)

    def commit(self, member: Consumer) -> None:
        if member not in self.members or not self._holding.get(id(member)):
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        for place, offset in member.stored.items():
            if place in self._holding[id(member)]:
                self.committed[place] = max(offset, self.committed.get(place, 0))
        member.stored = {}

    def serve(self, member: Consumer) -> None:
        """A poll: what the group has to say to this member is said."""
        me = id(member)
        if me in self._lost:
            self._lost.discard(me)
            if self._holding.get(me):
                self._call(member, "lost")
            self.join(member)
            return
        if not self._balanced and me not in self._joined:
            if self._holding.get(me):
                self._call(member, "revoke")
            if member in self.members:
                self._joined.add(me)
                self._deal()
        elif me in self._given:
            places = self._given.pop(me)
            self._holding[me] = places
            member.assign([TopicPartition(t, p, self.committed.get((t, p), 0)) for t, p in places])
            member.stored = {}
            member.callbacks["assign"](member, [TopicPartition(*place) for place in places])

    def _call(self, member: Consumer, what: str) -> None:
        places = self._holding[id(member)]
        member.callbacks[what](member, [TopicPartition(*place) for place in places])
        self._holding[id(member)] = []
        member.unassign()

    def _rebalance(self) -> None:
        self._balanced = False
        self._joined = {id(each) for each in self.members if id(each) not in self._holding}
        self._given = {}
        self._deal()

    def _deal(self) -> None:
        if not self.members or not all(id(each) in self._joined for each in self.members):
            return
        self._balanced = True
        places = [place for place in self._log.places if place[0] == topics.ORDERS_SUBMISSION]
        self._given = {id(each): places[n :: len(self.members)] for n, each in enumerate(self.members)}
