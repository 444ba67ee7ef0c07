"""The one thread that reads a topic's live end and hands each event to the portfolios that want it (SPEC N2, N3, N4).

It reads only partitions that somebody's keys live in, looks at a message's key before it decodes anything, decodes a
wanted one once, and shares it. It never waits for a portfolio: a full queue is the policy's business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from market.alerting import Alerter
from market.poison import UNDECODABLE, PoisonCounter
from nodes import backpressure
from nodes.interest import InterestMap
from nodes.subscription import Item, Position, Subscription
from nodes.thread import NodeThread
from portfolios.kernel.events import Cause, Event

log = logging.getLogger(__name__)

_BATCH = 2000
_BACKLOG = 500
"""So many messages at once are a backlog, in which nobody's latency is at stake."""
_PATIENCE_S = 0.012
_PAUSE_S = 0.002

_new = tuple.__new__
"""A named tuple's own constructor is Python, and takes three times as long."""


class Attached(NamedTuple):
    """Where routing to a subscription begins, where it was halted before, and what was queued by then."""

    joins: dict[Position, int]
    halted: dict[Position, int]
    before: list[list[Item]]


class LogConsumer(NodeThread):
    """Reads the live end of whatever partitions its subscriptions need.

    `positions` maps (topic, partition) to the next offset to be routed. It is published after the events before it
    have been queued, so who reads it first and then finds its queue empty has decided everything below it.
    """

    def __init__(
        self,
        name: str,
        make_consumer: Callable[[], Consumer],
        decode: Callable[[bytes], Event],
        alerter: Alerter,
    ) -> None:
        super().__init__(name)
        self._make_consumer = make_consumer
        self.decode = decode
        self._alerter = alerter
        self.poison = PoisonCounter(alerter)
        self.interest = InterestMap()
        self.positions: dict[Position, int] = {}
        self.routed = 0
        self.seen = 0
        self.paused = threading.Event()
        self._mailbox: deque[Callable[[], None]] = deque()
        self._needed: dict[str, frozenset[Position]] = {}
        self._consumer: Consumer | None = None
        self._behind = False

    # -- called by processors ------------------------------------------------------------------------------------

    def attach(self, subscription: Subscription, ends: dict[Position, int], timeout: float) -> Attached | None:
        """Route to `subscription` from now on: its events from the join points on will be in its queue.

        `ends` are its partitions with a recent end offset, from which a partition not yet read is begun. What was
        halted is lifted and told, and what was queued before is taken out of the queue and handed over: it comes before
        what was halted, which comes before what the queue then holds. None if the consumer did not get to it within
        `timeout` seconds.
        """
        attached: list[Attached] = []

        def do() -> None:
            joins = self._route_to(subscription, ends)
            subscription.flush()
            before, subscription.batches = list(subscription.batches), deque()
            halted, subscription.halted = subscription.halted or {}, None
            attached.append(Attached(joins, halted, before))

        return attached[0] if self._in_thread(do, timeout) else None

    def change(
        self,
        subscription: Subscription,
        keys: frozenset[bytes],
        ends: dict[Position, int],
        timeout: float,
        shared: Mapping[Position, int] = MappingProxyType({}),
    ) -> Attached | None:
        """Route by other `keys` from now on. What is queued stays, and where it was halted, which is told, not lifted;
        of partitions that are not in `ends` any more, nothing does. Of those in `shared` that are not decided up to the
        join point, what follows these offsets is read again, for all of the keys: they are halted there. As `attach`
        otherwise.
        """
        changed: list[Attached] = []

        def do() -> None:
            subscription.keys = keys
            joins = self._route_to(subscription, ends)
            subscription.keep(ends)
            subscription.read_again(shared)
            changed.append(Attached(joins, dict(subscription.halted or {}), []))

        return changed[0] if self._in_thread(do, timeout) else None

    def detach(self, portfolio_id: str) -> None:
        """Stop routing to it, soon; partitions that nobody else needs are no longer read."""

        def do() -> None:
            self.interest.remove(portfolio_id)
            self._needed.pop(portfolio_id, None)
            self._release()

        self._mailbox.append(do)

    def _route_to(self, subscription: Subscription, ends: dict[Position, int]) -> dict[Position, int]:
        """What it wants comes to it from these offsets on. In this thread, so nothing is routed meanwhile."""
        self._assign(ends)
        self._needed[subscription.portfolio_id] = frozenset(ends)
        self.interest.add(subscription)
        self._release()
        return {position: self.positions[position] for position in ends}

    def _in_thread(self, do: Callable[[], None], timeout: float) -> bool:
        done = threading.Event()
        failed: list[Exception] = []

        def run() -> None:
            try:
                do()
            except KafkaException as error:
                failed.append(error)
            finally:
                done.set()

        self._mailbox.append(run)
        if not done.wait(timeout):
            return False
        if failed:
            raise failed[0]
        return True

    # -- the thread ------------------------------------------------------------------------------------------------

    def work(self) -> None:
        self._consumer = self._make_consumer()
        try:
            while not self.stopping.is_set():
                self.step()
        finally:
            self._consumer.close()

    def step(self, timeout: float = 0.1) -> int:
        """Do what is in the mailbox, then route one batch; how many messages it looked at."""
        while self._mailbox:
            self._mailbox.popleft()()
        if self.paused.is_set() or not self.positions:
            self.stopping.wait(0.02)
            return 0
        consumer = self._consumer
        assert consumer is not None
        # As few calls as can be: each lets go of the interpreter, and has to wait for it afterwards.
        messages = consumer.consume(_BATCH, 0) if self._behind else []
        if not messages:
            first = consumer.poll(timeout)
            if first is None:
                self._behind = False
                self._flush_tails()
                return 0
            messages = [first, *consumer.consume(_BATCH - 1, 0)]
        self._behind = len(messages) >= _BACKLOG
        self._route(messages)
        self._flush_tails()
        self._advance(consumer, messages)
        return len(messages)

    def _route(self, messages: list[Message]) -> None:
        wanted = self.interest.wanted
        decode = self.decode
        bound: dict[Subscription, list[Item]] = {}
        for message in messages:
            key = message.key()
            subscriptions = wanted.get(key)  # type: ignore[arg-type]
            if subscriptions is None:
                if key is None:  # what librdkafka has to say comes as a message without one
                    self._on_error(message)
                continue
            cause = _new(Cause, (message.topic(), message.partition(), message.offset()))
            try:
                item = _new(Item, (decode(message.value()), cause))  # type: ignore[arg-type]
            except UNDECODABLE as error:
                self.poison.skip(*cause, error)
                continue
            for subscription in subscriptions:
                items = bound.get(subscription)
                if items is None:
                    bound[subscription] = [item]
                else:
                    items.append(item)
        self.seen += len(messages)
        late: list[tuple[Subscription, list[Item]]] = []
        for subscription, items in bound.items():
            self.routed += len(items)
            if subscription.has_room(len(items)):
                self._queue(subscription, items)
            else:
                late.append((subscription, items))
        # Reading a backlog is faster than applying it: wait for room, before queues overflow that need not. Only for a
        # moment, only in a backlog, and not again before what overflowed is applied: whoever is slower than that slows
        # nobody else.
        deadline = time.monotonic() + (_PATIENCE_S if len(messages) >= _BACKLOG else 0)
        for subscription, items in late:
            for part in subscription.parts(items):
                while not subscription.has_room(len(part)) and time.monotonic() < deadline:
                    self.stopping.wait(_PAUSE_S)
                self._queue(subscription, part)

    def _queue(self, subscription: Subscription, items: list[Item]) -> None:
        policy = subscription.policy
        if subscription.halted is not None:
            self._halt(subscription, items)
            return
        if policy is None:  # feedback: never dropped, never too much
            subscription.extend(items)
            return
        if subscription.tail:
            if policy == "conflate":
                subscription.conflate(items)
                return
            subscription.flush()  # the policy has changed: what was conflated by the old one comes first
        decision = backpressure.decide(policy, subscription.queued, len(items), subscription.limit)
        if decision.level:
            self._raise(subscription, decision, len(items))
        if decision.take:
            subscription.extend(items if decision.take == len(items) else items[: decision.take])
        if decision.take < len(items):
            subscription.pressure += 1
            subscription.overrun = subscription.put
            if decision.halt:
                self._halt(subscription, items[decision.take :])
            elif policy == "conflate":
                subscription.conflate(items[decision.take :])
            else:
                subscription.dropped += len(items) - decision.take

    def _flush_tails(self) -> None:
        """Give conflating portfolios the newest of each code once there is room, at the tail of the queue."""
        for subscription in self.interest.subscriptions():
            if subscription.tail and subscription.queued + len(subscription.tail) <= subscription.limit // 2:
                subscription.flush()

    @staticmethod
    def _halt(subscription: Subscription, items: list[Item]) -> None:
        """Remember, for each partition, the first event that was not queued: from there it is read again."""
        halted = dict(subscription.halted or {})
        for item in items:
            halted.setdefault((item.cause.topic, item.cause.partition), item.cause.offset)
        subscription.halted = halted

    def _raise(self, subscription: Subscription, decision: backpressure.Decision, arriving: int) -> None:
        critical = decision.level == "critical"
        filled = min(1.0, (subscription.queued + arriving) / subscription.limit)
        self._alerter.raise_alert(
            "queue_full",
            "critical" if critical else "warning",
            f"Portfolio {subscription.portfolio_id} queue is {filled:.0%} full ({subscription.policy})",
            at_most_every=backpressure.CRITICAL_EVERY if critical else backpressure.WARNING_EVERY,
            subject=f"{subscription.portfolio_id}:{decision.level}",
            portfolio_id=subscription.portfolio_id,
            queue_size=subscription.queued,
            queue_max=subscription.limit,
        )

    def _advance(self, consumer: Consumer, messages: list[Message]) -> None:
        """Publish how far routing has come: after the queues, never before them."""
        advanced = dict(self.positions)
        if self._behind:  # asking is quicker than looking at thousands
            asked = [TopicPartition(topic, partition) for topic, partition in advanced]
            for tp in consumer.position(asked):
                if tp.offset != OFFSET_INVALID and tp.offset >= 0:
                    advanced[tp.topic, tp.partition] = tp.offset
        else:
            for message in messages:
                position, offset = (message.topic(), message.partition()), message.offset()
                if message.error() is None and offset is not None and position in advanced:
                    advanced[position] = offset + 1  # type: ignore[index]
        self.positions = advanced

    def _assign(self, ends: dict[Position, int]) -> None:
        assert self._consumer is not None
        new = {position: end for position, end in ends.items() if position not in self.positions}
        if new:
            self._consumer.incremental_assign([TopicPartition(t, p, end) for (t, p), end in new.items()])
            self.positions = {**self.positions, **new}

    def _release(self) -> None:
        assert self._consumer is not None
        needed: set[Position] = set().union(*self._needed.values()) if self._needed else set()
        unneeded = [position for position in self.positions if position not in needed]
        if unneeded:
            self._consumer.incremental_unassign([TopicPartition(t, p) for t, p in unneeded])
            self.positions = {position: o for position, o in self.positions.items() if position in needed}

    def _on_error(self, message: Message) -> None:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return
        log.warning("%s: %s", self.name, error.str())
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._lose((message.topic(), message.partition()))  # type: ignore[arg-type]

    def _lose(self, position: Position) -> None:
        """The log no longer holds the offset to be read next. No client resets offsets by itself: whoever needs the
        partition is halted there, joins again, and finds out what is missing.
        """
        offset = self.positions.get(position)
        if offset is None:
            return
        assert self._consumer is not None
        self._alerter.raise_alert(
            "data_gap",
            "critical",
            f"{self.name}: the log no longer holds {position[0]}:{position[1]}:{offset}, which was to be read next",
            at_most_every=60,
            subject=f"{position[0]}:{position[1]}",
        )
        self._consumer.incremental_unassign([TopicPartition(*position)])
        self.positions = {p: o for p, o in self.positions.items() if p != position}
        for subscription in self.interest.subscriptions():
            if position in self._needed.get(subscription.portfolio_id, ()):
                subscription.halted = {position: offset, **(subscription.halted or {})}
                subscription.wake()
