"""`ginkgo data restored`: after the database came back from a back-up, make what happened since then harmless.

Kafka, Redis and the broker remember what the restored books do not: answers under numbers that the engine will give
anew, orders of epochs that will come again. Read on as it stands, a portfolio would book the old answers and take the
new ones for repetitions. So none of it is read: each portfolio gets a new owner-to-be and begins at the live end, as
after a user's stop, and trading is off until somebody has compared the books with the broker's.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from django.db import transaction

from market import bus, switch, topics
from market.bus import KafkaUnavailable
from market.engine import status as engine
from market.submissions import GROUP
from portfolios import livestate, ownership
from portfolios.errors import Conflict
from portfolios.models import Assignment, Checkpoint, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from portfolios.ownership import NOBODY, Ownership

REASON = "the database was restored from a back-up"
_PATIENCE = 20.0
# A group with members lets nobody else commit.
_ENGINE_THERE = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS)
_PASSES = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_ALIVE = "heartbeat:node:*"
_STALE = ("portfolio:*", "schedule:*")


@dataclass(frozen=True)
class Restored:
    """`stopped`: name and id of each portfolio that the back-up wants running, and that is stopped now."""

    portfolios: int
    stopped: list[tuple[str, str]]
    passed_over: int
    """Orders in the log that no engine will read."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "stopped": [{"name": name, "id": id_} for name, id_ in self.stopped]}


def after_restore() -> Restored:
    """Do it; repeated, it does no harm. Raises Conflict where nodes or an engine run, KafkaUnavailable,
    RedisUnavailable, redis.RedisError, django.db.Error."""
    _refuse_while_running()
    passed_over = _to_the_end(topics.ORDERS_SUBMISSION, GROUP)
    switch.turn(False, REASON)
    with transaction.atomic():
        wanted = [*Portfolio.objects.filter(desired_state=DesiredState.RUNNING).values_list("name", "id")]
        for row in Assignment.objects.values_list("portfolio_id", "node_id", "epoch"):
            if ownership.hand_over(Ownership(*row), NOBODY, REASON) is None:
                raise Conflict(f"portfolio {row[0]} has just changed hands: stop every process first")
        Portfolio.objects.update(desired_state=DesiredState.STOPPED)
        Portfolio.objects.exclude(status=Status.CREATED).update(status=Status.STOPPED, status_reason=REASON)
        # Without offsets it begins at the live end; answers that it lacks come from the restored engine's own table.
        Checkpoint.objects.update(offsets={}, topic_ids={})
    _forget_live_figures()
    return Restored(Portfolio.objects.count(), wanted, passed_over)


def _refuse_while_running() -> None:
    alive = [key.rpartition(":")[2] for key in livestate.client().scan_iter(_ALIVE)]
    if alive:
        raise Conflict(
            f"node {', '.join(sorted(alive))} runs: stop every process (or wait until its heartbeat expires)"
        )
    if engine.read(datetime.now(UTC))["engine_status"] in ("running", "stopped"):
        raise Conflict("an engine runs: stop every process, and leave only the servers")


def _to_the_end(topic: str, group: str) -> int:
    """Let a group go on behind all that there is; how many messages it passes over."""
    deadline, pause = time.monotonic() + _PATIENCE, threading.Event()
    consumer = bus.make_consumer("ginkgo-restored", group)
    try:
        while True:
            try:
                return _commit_the_end(consumer, topic)
            except KafkaException as error:
                why = error.args[0]
                if why.code() in _ENGINE_THERE:
                    raise KafkaUnavailable(
                        "an engine still reads the orders: stop every process, and wait 10 s"
                    ) from None
                # Servers that have just been started elect their leaders still.
                if why.code() not in _PASSES or time.monotonic() > deadline:
                    raise KafkaUnavailable(f"Kafka does not let group {group} go on: {why.str()}") from None
            pause.wait(0.5)
    finally:
        consumer.close()


def _commit_the_end(consumer: Consumer, topic: str) -> int:
    numbers = consumer.list_topics(topic, timeout=_PATIENCE).topics[topic].partitions
    ends, left = [], 0
    for place in consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=_PATIENCE):
        low, high = consumer.get_watermark_offsets(place, timeout=_PATIENCE, cached=False)
        ends.append(TopicPartition(topic, place.partition, high))
        left += high - max(low, place.offset)
    consumer.commit(offsets=ends, asynchronous=False)
    return left


def _forget_live_figures() -> None:
    """They are of a later time than the books, and would be shown as newer ones."""
    client: redis.Redis = livestate.client()
    stale = [key for pattern in _STALE for key in client.scan_iter(pattern)]
    if stale:
        client.delete(*stale)
