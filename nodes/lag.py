"""How far this node is behind the log, partition by partition, in messages and in seconds.

Behind is whoever is slowest: the consumer that routes, or one of the portfolios that it routes to. Seconds are told by
the log's own growth: it is as long behind as it was ago that the log ended where we are now.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from market.bus import KafkaUnavailable, bootstrap
from market.control_client import connected
from nodes.consumer import LogConsumer
from nodes.subscription import Position, Subscription
from nodes.thread import NodeThread

log = logging.getLogger(__name__)

_REMEMBER = 2000
"""Looks at a partition's end that are kept; what is further behind than the oldest is so at least."""


class Lag(NamedTuple):
    """Of one partition."""

    messages: int
    seconds: float


class Growth:
    """When each partition's log ended where: seconds of lag are read off it. Times on one monotonic clock."""

    def __init__(self) -> None:
        self._ends: dict[Position, deque[tuple[float, int]]] = {}

    def note(self, now: float, ends: Mapping[Position, int]) -> None:
        """The ends as of now; what is no longer asked about is forgotten."""
        self._ends = {
            position: self._ends.get(position, deque(maxlen=_REMEMBER)) for position in ends
        }  # fmt: skip
        for position, end in ends.items():
            known = self._ends[position]
            if known and end < known[-1][1]:
                known.clear()  # the log has begun anew
            known.append((now, end))

    def lag(self, now: float, position: Position, following: int) -> Lag:
        """Of one whose next offset is `following`."""
        known = self._ends.get(position)
        if not known:
            return Lag(0, 0.0)
        # Nobody will be further back than this one is now.
        while len(known) > 1 and known[0][1] <= following:
            known.popleft()
        since, _ = known[0]
        behind = max(0, known[-1][1] - following)
        return Lag(behind, round(now - since, 1) if behind else 0.0)


def slowest(consumers: Iterable[LogConsumer], offset_of: Callable[[str, Position], int | None]) -> dict[Position, int]:
    """The next offset of each partition read that has not been worked off by all who want it.

    `offset_of`: where a portfolio is in the log, asked where its queue does not tell.
    """
    found: dict[Position, int] = {}
    for consumer in consumers:
        at = dict(consumer.positions)
        for subscription in consumer.interest.subscriptions():
            for position, offset in _waiting(subscription, at, offset_of).items():
                if position in at:
                    at[position] = min(at[position], offset)
        found |= at
    return found


def _waiting(
    subscription: Subscription, routed: Collection[Position], offset_of: Callable[[str, Position], int | None]
) -> dict[Position, int]:
    """The first offset of each partition that waits for this portfolio."""
    first: dict[Position, int] = {}
    for batch in list(subscription.batches):
        for item in batch:
            first.setdefault((item.cause.topic, item.cause.partition), item.cause.offset)
    halted = subscription.halted
    if halted is not None:
        # It reads the log itself: its own word is nearer than where it was halted.
        for position in routed:
            offset = offset_of(subscription.portfolio_id, position)
            offset = halted.get(position) if offset is None else offset
            if offset is not None:
                first[position] = min(offset, first.get(position, offset))
    return first


class LagMeter(NodeThread):
    """`places` are the next offsets as of now. What it found last it gives as text, for the node's metrics."""

    def __init__(self, node_id: str, interval: float, places: Callable[[], Mapping[Position, int]]) -> None:
        super().__init__(f"lag_{node_id}")
        self._client_id = f"{node_id}.lag"
        self._interval = interval
        self._places = places
        self._growth = Growth()
        self._consumer: KafkaConsumer | None = None
        self.lags: dict[Position, Lag] = {}

    def work(self) -> None:
        try:
            while not self.stopping.wait(self._interval):
                self.step()
        finally:
            self._disconnect()

    def step(self) -> bool:
        """One look; False if Kafka did not answer: the last figures stand, and grow older."""
        places = self._places()  # before the ends: who is at the end then is not behind what came since
        try:
            ends = self._ask(places) if places else {}
        except (KafkaError, KafkaUnavailable, KeyError) as error:
            # KeyError: how kafka-python says that it had no answer for a partition.
            log.debug("%s: the log's ends are not known: %r", self.name, error)
            self._disconnect()
            return False
        now = time.monotonic()
        self._growth.note(now, ends)
        self.lags = {position: self._growth.lag(now, position, places[position]) for position in ends}
        return True

    def as_metrics(self) -> dict[str, str]:
        """`lag`: JSON of topic:partition → [messages, seconds]; `lag_messages` of all, `lag_seconds` of the worst."""
        lags = self.lags
        named = {f"{topic}:{partition}": lag for (topic, partition), lag in sorted(lags.items())}
        return {
            "lag": msgspec.json.encode(named).decode(),
            "lag_messages": str(sum(lag.messages for lag in lags.values())),
            "lag_seconds": f"{max((lag.seconds for lag in lags.values()), default=0.0):.1f}",
        }

    def _ask(self, positions: Iterable[Position]) -> dict[Position, int]:
        if self._consumer is None:
            self._consumer = connected(
                KafkaConsumer,
                bootstrap_servers=bootstrap().split(","),
                client_id=self._client_id,
                group_id=None,
                enable_auto_commit=False,
                bootstrap_timeout_ms=3000,
                request_timeout_ms=5000,
            )
        ends = self._consumer.end_offsets([TopicPartition(*position) for position in positions])
        return {(partition.topic, partition.partition): end for partition, end in ends.items()}

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=500)
            except KafkaError as error:
                log.debug("%s: closing: %s", self.name, error)
