"""Reads orders and cancels from `orders.submission` into the engine; several engines share its partitions (SPEC M2).

Offsets are committed by hand, after the work: what a crash leaves uncommitted is read again and found to be known. A
submission is never skipped: while the database is away, the batch in hand is tried until it is taken in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from django.db import DataError, IntegrityError, close_old_connections
from django.db import Error as DatabaseError

from market.alerting import Alerter
from market.brokers.port import BrokerUnavailable
from market.bus import partition_of
from market.engine.desk import Desk
from market.messages import OrderMessage, decode_order
from market.poison import UNDECODABLE, PoisonCounter
from market.topics import ORDERS_SUBMISSION

log = logging.getLogger(__name__)

GROUP = "ginkgo.engine"
_BATCH = 200
_POLL = 0.05
_ALONE = 10.0
"""Seconds after which an engine that its group leaves without word looks after all open orders, again and again."""
_RECOVERY = 1.0
"""Seconds between a client that says it cannot read and the next one."""
_WAITING_FOR: dict[type[Exception], str] = {BrokerUnavailable: "broker", KafkaException: "Kafka"}
_BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)


class Partitions:
    """The partitions that are this engine's now, and with them the portfolios whose orders they carry."""

    def __init__(self) -> None:
        self._mine: frozenset[int] = frozenset()
        self._count = 0
        self._lost = False

    def __call__(self, portfolio_id: str) -> bool:
        return self._count > 0 and partition_of(portfolio_id, self._count) in self._mine

    @property
    def numbers(self) -> frozenset[int]:
        return self._mine

    @property
    def unknown(self) -> bool:
        """The group does not say which are its: not yet, since this engine's start, or not since it lost them all."""
        return self._count == 0 or self._lost

    def cares_for(self, portfolio_id: str) -> bool:
        """Whether its open orders are this engine's care: its partition is, or nobody can say whose it is.

        So an order is never without an engine that cancels it when trading is stopped, and books its fills; but several
        may look after the same one. They do it no harm: a report is booked under the portfolio's lock, against what is
        booked already; a cancel and a question change nothing the second time; the simulated exchange's fills are
        conditional on the order's cursor. Two things are not so, and are not done by this rule: what the broker has
        never heard of may just be on its way there from another engine (`Desk` waits, see there), and answers go to
        Kafka in their order only if one engine sends them (the outbox keeps to its partitions, and so do debts).
        """
        return self.unknown or self(portfolio_id)

    def become(self, mine: frozenset[int], count: int) -> None:
        self._count = count
        self._mine = mine
        self._lost = False

    def keep(self, mine: frozenset[int]) -> None:
        self._mine &= mine

    def lose(self) -> None:
        """The group has dropped this engine, or is itself away: nobody can say whose they are until it answers."""
        self._mine = frozenset()
        self._lost = True

    def only(self, numbers: frozenset[int]) -> Callable[[str], bool]:
        """As this, but for some of the partitions."""
        count = self._count
        return lambda portfolio_id: count > 0 and partition_of(portfolio_id, count) in numbers


class Submissions:
    """The consumer of one engine; `run` is its thread."""

    def __init__(self, make: Callable[[], Consumer], desk: Desk, mine: Partitions, alerter: Alerter) -> None:
        self._make = make
        self._desk = desk
        self._mine = mine
        self._alerter = alerter
        self._poison = PoisonCounter(alerter)
        self._consumer: Consumer | None = None
        self._assigned: frozenset[int] = frozenset()
        self._taken_over = False
        self._deaf = False
        self._next_look = time.monotonic() + _ALONE
        self.last_order: datetime | None = None
        self.waiting_for: str = ""

    def run(self, stop: threading.Event) -> None:
        """The thread: until `stop` is set. `close` comes after it."""
        while not stop.is_set():
            self._deaf = False
            self._consumer = consumer = self._make()
            consumer.subscribe(
                [ORDERS_SUBMISSION],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not (stop.is_set() or self._deaf):
                self.step(consumer, stop)
            if self._deaf and not stop.wait(_RECOVERY):
                log.warning("Orders are read by a new client")
                consumer.close()

    def close(self) -> None:
        """Commit what was taken in, and give the partitions back."""
        if self._consumer is not None:
            self._commit(self._consumer, asynchronous=False)
            self._consumer.close()

    def step(self, consumer: Consumer, stop: threading.Event) -> int:
        """Read one batch, work it off, commit it; how many messages it had."""
        batch = self._read(consumer)
        doubtful = self._taken_over or self._desk.in_doubt.is_set() or self._is_left_alone()
        if doubtful and not self._persist(lambda: self._take_over(consumer), stop):
            return 0
        if not batch:
            return 0
        messages = [message for message in map(self._decode, batch) if message is not None]
        if messages and not self._take_in(messages, stop):
            return 0
        for message in batch:
            try:
                consumer.store_offsets(message)
            except KafkaException as error:
                # The partition has gone to another engine in the meantime: it reads the message again.
                log.debug("Offset not stored: %s", error)
        self._commit(consumer, asynchronous=True)
        return len(batch)

    def _take_in(self, messages: Sequence[OrderMessage], stop: threading.Event) -> bool:
        """Into the books, all of them; False if stopped before that.

        A message that alone makes it fail is alerted and left: its sender sends it again until it is answered, and
        one order must not stop everybody's.
        """
        try:
            done = self._persist(lambda: self._desk.receive(messages, datetime.now(UTC)), stop)
        except Exception as error:
            if len(messages) > 1:
                return all(self._take_in([message], stop) for message in messages)
            order_id = messages[0].order_id
            log.exception("Order %s cannot be taken in", order_id)
            self._complain(f"Order {order_id} cannot be taken in: {error}", subject=order_id)
            return True
        self.last_order = datetime.now(UTC)
        return done

    def _is_left_alone(self) -> bool:
        """Whether it is time to look after everybody's orders: the group has not said for long which are this engine's.

        Not at once, as after a start: it mostly says so within a second or two.
        """
        now = time.monotonic()
        if not self._mine.unknown:
            self._next_look = now + _ALONE
        return now >= self._next_look

    def _take_over(self, consumer: Consumer) -> None:
        """Partitions that are new to us, none for long, or doubts: ask the broker about every open order that is our
        care before reading on."""
        taken_over = self._taken_over
        if taken_over:
            topic = consumer.list_topics(ORDERS_SUBMISSION, timeout=5).topics[ORDERS_SUBMISSION]
            first = self._mine.unknown
            self._mine.become(self._assigned, len(topic.partitions))
            if first:
                # What it looked after for whoever they are is theirs now.
                self._desk.release(lambda portfolio_id: not self._mine(portfolio_id))
        self._desk.resolve(self._mine.cares_for)
        self._taken_over = False
        self._next_look = time.monotonic() + _ALONE

    def _read(self, consumer: Consumer) -> Sequence[Message]:
        first = consumer.poll(_POLL)
        if first is None:
            return []
        batch = [first, *consumer.consume(_BATCH - 1, 0)]
        good = []
        for message in batch:
            error = message.error()
            if error is None:
                good.append(message)
            elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                self._complain(f"Topic {ORDERS_SUBMISSION} does not exist: create it with 'ginkgo data init'")
            else:
                # It may have its partitions and never read them: so after the group's coordinator was away for long.
                self._deaf = True
                self._complain(f"Orders cannot be read: {error.str()}")
        return good

    def _decode(self, message: Message) -> OrderMessage | None:
        try:
            order: OrderMessage = decode_order(message.value() or b"")
            return order
        except UNDECODABLE as error:
            self._poison.skip(message.topic(), message.partition(), message.offset(), error)
            return None

    def _persist(self, work: Callable[[], object], stop: threading.Event) -> bool:
        """Do it, however often it takes while a server is away; False if stopped before it was done."""
        failures = 0
        while True:
            try:
                work()
            except (DataError, IntegrityError):
                raise  # not a matter of time
            except (DatabaseError, BrokerUnavailable, KafkaException) as error:
                self.waiting_for = _WAITING_FOR.get(type(error), "database")
                self._complain(f"Orders wait, trying again: {error}")
                close_old_connections()
                if stop.wait(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)]):
                    return False
                failures += 1
            else:
                if failures:
                    log.info("Orders go on")
                self.waiting_for = ""
                return True

    def _complain(self, message: str, subject: str = "") -> None:
        self._alerter.raise_alert(
            "component_error", "critical", message, at_most_every=60, subject=subject or message[:40]
        )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned = frozenset(p.partition for p in partitions)
        self._taken_over = True
        log.info("This engine has partitions %s of the orders", sorted(self._assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(consumer, asynchronous=False)
        gone = frozenset(p.partition for p in partitions)
        theirs = self._mine.only(gone)
        self._assigned -= gone
        self._mine.keep(self._assigned)
        try:
            self._desk.release(theirs)
        except (DatabaseError, BrokerUnavailable) as error:
            log.warning("Orders of partitions that are another engine's stay in sight: %s", error)
        if not self._assigned:
            self._mine.lose()  # until the group deals anew; should Kafka go before that, it never does

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They stay in sight: it may be Kafka that is lost. Once the group speaks, what is another's is let go."""
        log.warning("This engine has lost its partitions of the orders")
        self._assigned -= frozenset(p.partition for p in partitions)
        self._mine.lose()

    def _commit(self, consumer: Consumer, asynchronous: bool) -> None:
        try:
            consumer.commit(asynchronous=asynchronous)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                log.warning("Offsets of orders were not committed, they will be read again: %s", error)
