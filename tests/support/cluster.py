"""A cluster as its nodes see it: the home's own database, the log and Redis, with the tests' hand on each of them.

Processes use the database of their home, not pytest's: it is opened here under an alias of its own. There is no
scheduler and no engine unless a test starts them: the test itself assigns, takes away and answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import uuid4

import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.models import F

from ginkgo_site import settings as product
from ginkgo_site.supervisor.detach import command
from market import bus, topics
from market.messages import Alert, OrderMessage, SystemEvent, decode_alert, decode_order, decode_system, encode
from market.poison import UNDECODABLE
from portfolios import livestate
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.kernel.rules import rules_for
from portfolios.models import Assignment, Checkpoint, Portfolio, Revision
from tests.support.eventually import eventually
from tests.support.stack import RunningStack

ALIAS = "cluster"
FAST = {
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "1",
    "GINKGO_NODE__HEARTBEAT_TTL": "3",
    "GINKGO_NODE__RECONCILE_INTERVAL": "0.3",
    "GINKGO_NODE__CHECKPOINT_INTERVAL": "0.3",
    "GINKGO_NODE__RESEND_INTERVAL": "2",
}


@dataclass
class NodeProcess:
    """`ginkgo node start`, a process of its own; what it says is in `log`."""

    node_id: str
    process: subprocess.Popen[bytes]
    log: Any
    client: redis.Redis

    def said(self) -> str:
        return str(self.log.read_text(errors="replace"))

    def info(self, name: str = "state") -> str | None:
        value: str | None = self.client.hget(livestate.node_info_key(self.node_id), name)  # type: ignore[assignment]
        return value

    def metric(self, name: str) -> float:
        return float(self.client.hget(livestate.metrics_key(self.node_id), name) or 0)  # type: ignore[arg-type]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, as a supervisor does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@dataclass
class Cluster:
    stack: RunningStack
    unblock: Callable[[], AbstractContextManager[None]]
    """Lets this thread use a database outside of pytest-django's."""
    producer: Producer = field(init=False)
    redis: redis.Redis = field(init=False)
    _nodes: list[NodeProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        connections.databases[ALIAS] = connections.configure_settings({"default": {}, ALIAS: product._database()})[
            ALIAS
        ]
        self.producer = bus.make_producer("tests", linger_ms=5)
        self.redis = livestate.client()
        done = self.stack.run("data", "init")
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """Stop in order whatever still runs, all at once."""
        running = [node for node in self._nodes if node.process.poll() is None]
        for node in running:
            node.process.terminate()
        for node in running:
            try:
                node.process.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
        with self.unblock():
            connections[ALIAS].close()

    # -- nodes -------------------------------------------------------------------------------------------------------

    def launch(self, node_id: str, **variables: str) -> NodeProcess:
        """Start a node; it is not waited for."""
        path = self.stack.home / f"{node_id}-{uuid4().hex[:6]}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command("node", "start", "--node-id", node_id),
                env={**self.stack.environment, **FAST, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        node = NodeProcess(node_id, process, path, self.redis)
        self._nodes.append(node)
        return node

    def start(self, node_id: str, **variables: str) -> NodeProcess:
        """Start a node and wait until it runs."""
        node = self.launch(node_id, **variables)

        def running() -> bool:
            assert node.process.poll() is None, f"{node_id} ended: {node.said()[-2000:]}"
            return node.info("pid") == str(node.process.pid) and node.info() == "running"

        eventually(running, timeout=40, saying=f"{node_id} running")
        return node

    # -- portfolios --------------------------------------------------------------------------------------------------

    def portfolio(
        self, config: Mapping[str, Any], node_id: str = "", cash: int = 10**9, desired: str = "running"
    ) -> str:
        """A new portfolio, owned by `node_id` at epoch 1; its id."""
        with self.db():
            user, _ = User.objects.using(ALIAS).get_or_create(username="trader")
            made = Portfolio.objects.using(ALIAS).create(
                name=str(uuid4()), owner=user, initial_cash=cash, config=config, desired_state=desired
            )
            Revision.objects.using(ALIAS).create(portfolio=made, version=1, config=config)
            Assignment.objects.using(ALIAS).create(portfolio=made, node_id=node_id, epoch=1)
            Checkpoint.objects.using(ALIAS).create(portfolio=made, epoch=1)
            return str(made.id)

    def assign(self, portfolio_id: str, node_id: str) -> int:
        """As the scheduler does it: a new owner, or the same one anew; the new epoch."""
        with self.db():
            Assignment.objects.using(ALIAS).filter(portfolio_id=portfolio_id).update(
                node_id=node_id, epoch=F("epoch") + 1
            )
            epoch = Assignment.objects.using(ALIAS).get(portfolio_id=portfolio_id).epoch
            Checkpoint.objects.using(ALIAS).filter(portfolio_id=portfolio_id).update(epoch=epoch)
            return int(epoch)

    def reconfigure(self, portfolio_id: str, config: Mapping[str, Any]) -> int:
        """The next version of its configuration, accepted without a look at it; its number."""
        with self.db():
            row = Portfolio.objects.using(ALIAS).get(id=portfolio_id)
            version = row.version + 1
            Revision.objects.using(ALIAS).create(portfolio=row, version=version, config=config)
            Portfolio.objects.using(ALIAS).filter(id=portfolio_id).update(version=version, config=config)
            return int(version)

    def desire(self, portfolio_id: str, state: str) -> None:
        with self.db():
            Portfolio.objects.using(ALIAS).filter(id=portfolio_id).update(desired_state=state)

    def row(self, portfolio_id: str) -> Portfolio:
        with self.db():
            return Portfolio.objects.using(ALIAS).get(id=portfolio_id)

    def status(self, portfolio_id: str) -> str:
        return str(self.row(portfolio_id).status)

    def assignment(self, portfolio_id: str) -> Assignment:
        with self.db():
            return Assignment.objects.using(ALIAS).get(portfolio_id=portfolio_id)

    def checkpoint(self, portfolio_id: str) -> Checkpoint:
        with self.db():
            return Checkpoint.objects.using(ALIAS).get(portfolio_id=portfolio_id)

    def run(self, portfolio_id: str, timeout: float = 20) -> int:
        """Wait until it runs; the offset at which its only code's partition was joined."""
        eventually(lambda: self.status(portfolio_id) == "running", timeout, saying=f"{portfolio_id} running")
        (code,) = self.row(portfolio_id).config["codes"]
        return self.offset(portfolio_id, code)

    def offset(self, portfolio_id: str, code: str) -> int:
        """The next offset of this code's partition that its checkpoint has not decided; -1 if there is none."""
        topic, partition = place_of(code)
        found: int = self.checkpoint(portfolio_id).offsets.get(topic, {}).get(str(partition), -1)
        return found

    @contextmanager
    def db(self) -> Iterator[None]:
        with self.unblock():
            yield

    @contextmanager
    def locked(self, portfolio_id: str) -> Iterator[None]:
        """Nobody can write this portfolio's checkpoint meanwhile (embedded: nobody can write anything)."""
        with self.db(), transaction.atomic(using=ALIAS):
            Checkpoint.objects.using(ALIAS).select_for_update().get(portfolio_id=portfolio_id)
            yield

    # -- the log -------------------------------------------------------------------------------------------------------

    def publish(self, messages: list[PriceUpdate]) -> int:
        """Publish ticks of one code; the log's end after them."""
        self.feed(messages)
        return self.end(*place_of(messages[-1].code))

    def feed(self, messages: list[PriceUpdate]) -> None:
        """Publish ticks and wait until Kafka has them."""
        for message in messages:
            topic, key, value = topics.market_topic(message.code), message.code, encode(message)
            while True:
                try:
                    self.producer.produce(topic, key=key, value=value)
                    break
                except BufferError:
                    self.producer.poll(0.1)
        assert self.producer.flush(30) == 0

    def raw(self, topic: str, key: str, value: bytes) -> None:
        self.producer.produce(topic, key=key, value=value)
        assert self.producer.flush(20) == 0

    def answer(self, feedback: Feedback) -> None:
        """As the engine publishes it."""
        self.raw(topics.ORDERS_FEEDBACK, feedback.portfolio_id, encode(feedback))

    def end(self, topic: str, partition: int) -> int:
        with _reading() as consumer:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10, cached=False)[1])

    def read(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> list[Message]:
        """Its messages from `start` up to `end`, or up to where it ends now."""
        with _reading() as consumer:
            where = TopicPartition(topic, partition, start)
            low, high = consumer.get_watermark_offsets(where, timeout=10, cached=False)
            end = high if end is None else end
            found: list[Message] = []
            if max(low, start) >= end:
                return found
            consumer.assign([where])
            while not found or found[-1].offset() < end - 1:
                found.extend(m for m in consumer.consume(5000, 0.5) if m.error() is None)
            return [m for m in found if m.offset() < end]

    def orders(self, portfolio_id: str) -> list[OrderMessage]:
        """All that was ever sent for it, in order."""
        where = topics.ORDERS_SUBMISSION, bus.partition_of(portfolio_id, 10)
        key = portfolio_id.encode()
        return [decode_order(m.value()) for m in self.read(*where) if m.key() == key]

    def alerts(self, about: str) -> list[Alert]:
        """Those that mention it; other tests may have left there what is no alert."""
        found = [m.value() for n in range(3) for m in self.read(topics.ALERTS, n)]
        mentioning = (decode_alert(value) for value in found if about.encode() in value)
        return [alert for alert in mentioning if about in alert.message]

    def replay(self, portfolio_id: str, start: int) -> bytes:
        """The state its checkpoint must hold: every one of its ticks from `start` up to its offset, once, in order.

        For a portfolio with one code, whose orders nobody has answered.
        """
        row, saved = self.row(portfolio_id), self.checkpoint(portfolio_id)
        (code,) = row.config["codes"]
        topic, partition = place_of(code)
        kernel = Kernel(portfolio_id, parse(row.config, "cn"), rules_for("cn"), to_units(Decimal(row.initial_cash)))
        for message in self.read(topic, partition, start, saved.offsets[topic][str(partition)]):
            if message.key() == code.encode():
                event = decode_price_or_none(message.value())
                if event is not None:
                    kernel.apply(event, Cause(topic, partition, message.offset()))
        return kernel.snapshot()


def decode_price_or_none(value: bytes) -> PriceUpdate | None:
    from market.messages import decode_price
    from market.poison import UNDECODABLE

    try:
        return decode_price(value)
    except UNDECODABLE:
        return None


def place_of(code: str) -> tuple[str, int]:
    """The topic and partition in which this code lives."""
    return topics.market_topic(code), bus.partition_of(code, 10)


@contextmanager
def _reading() -> Iterator[Consumer]:
    consumer = bus.make_consumer(f"tests.{os.getpid()}")
    try:
        yield consumer
    finally:
        consumer.close()


def system_events(cluster: Cluster, node_id: str) -> list[SystemEvent]:
    """What a node has said on `system.events`; whatever other tests wrote there that is no message is passed over."""
    found: list[SystemEvent] = []
    for partition in range(3):
        for message in cluster.read(topics.SYSTEM_EVENTS, partition):
            try:
                found.append(decode_system(message.value()))
            except UNDECODABLE:
                continue
    return [event for event in found if getattr(event, "node_id", "") == node_id]
