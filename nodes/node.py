"""A node: the order in which its threads start and stop, and the portfolios it runs (SPEC section 5).

The constructor starts no thread and opens no connection; `start()` does.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market import bus, topic_admin, topics
from market.alerting import Alerter
from market.dispatcher import Dispatcher, Order, insist, order_of
from market.messages import ControlCommand, ScheduleUpdate, decode_feedback, decode_price
from market.poison import PoisonCounter
from nodes import identity
from nodes.announcer import Announcer
from nodes.checkpointer import Checkpointer
from nodes.consumer import LogConsumer
from nodes.context import Context, Limits, TopicCatalogue
from nodes.control import ControlListener
from nodes.direct import Straight
from nodes.direct_caller import Caller
from nodes.health import KafkaWatch, faults
from nodes.heartbeat import Heartbeat
from nodes.lag import LagMeter, slowest
from nodes.lease import Lease
from nodes.load import LoadMeter
from nodes.metrics import Metrics
from nodes.mortality import Mortality
from nodes.processor import Processor
from nodes.readers import Readers
from nodes.reconciler import Reconciler, Running, Steps
from nodes.restarts import Restarts
from nodes.sender import Sender
from nodes.subscription import Position
from nodes.thread import NodeThread
from nodes.trimmer import Trimmer
from portfolios import connections, ownership
from portfolios.calendars import CalendarError, trading_days
from portfolios.loads import Measured
from portfolios.models import Portfolio

log = logging.getLogger(__name__)

_NOT_FOR_NODES = frozenset(
    {
        *("engine.start", "engine.stop", "portfolio.start", "portfolio.stop", "portfolio.migrate"),
        *("node.drain", "node.enable"),
    }
)
"""By Kafka the engine or the scheduler claims them: claimed here they would be lost."""
_KAFKA_SHARE = 2.0
"""Seconds of the stop's deadline kept for closing what is left after the portfolios."""


class Node:
    """`config` is the configuration's `node` section; `home` holds the calendars' cache."""

    def __init__(
        self, node_id: str, config: Any, home: Path, pruning: bool = True, max_portfolios: int | None = None
    ) -> None:
        self.node_id = node_id
        self.max_portfolios = max_portfolios or config.max_portfolios
        self._config = config
        self._home = home
        self._pruning = pruning
        self._identity = identity.of_this_process(node_id)
        self._lease = Lease(config.heartbeat_ttl)
        self._processors: dict[str, Processor] = {}
        self._refused: dict[str, tuple[int, int]] = {}
        self._restarts = Restarts()
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._stopped = threading.Event()
        self._started_at = datetime.now(UTC)
        self._state = "starting"
        self._dead: frozenset[str] = frozenset()
        self._faults: list[str] = []
        self._prepared = False
        self._replaced = threading.Event()

    @property
    def started(self) -> bool:
        return self._started.is_set()

    # -- starting ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Build the parts, talk to each server, take the id, and take new epochs for what it owns; no thread yet.

        Raises NodeIdInUse, KafkaUnavailable, redis.RedisError or django.db.Error.
        """
        log.info("Starting ExecutionNode: %s", self.node_id)
        self._build()
        log.info("Connecting to Redis, Kafka (%s) and the database", bus.bootstrap())
        self._learn_rules()
        identity.ensure_free(self._identity, self._heartbeat.client(), self._config.heartbeat_interval)
        self._catalogue.partitions(topics.ORDERS_SUBMISSION)
        self._heartbeat.beat()
        try:
            connections.register_as(self.node_id, self._identity.instance)
            self._take_new_epochs()
        except DatabaseError:
            self._heartbeat.leave()  # nobody is to be placed on a node that is not there
            raise
        self._prepared = True

    def start(self) -> None:
        """Prepare, unless that is done, then start the threads. A second start warns."""
        if self._started.is_set():
            log.warning("ExecutionNode %s is already running", self.node_id)
            return
        if not self._prepared:
            self.prepare()
        self._started.set()
        self._state = "running"
        self._mortality = Mortality(self.node_id, self._config.heartbeat_ttl, self._stopped)
        for thread in self._threads():
            thread.on_death = self._on_death
            thread.start()
        log.info(
            "ExecutionNode %s ready, processing events (heartbeat every %g s, at most %d portfolios)",
            self.node_id, self._config.heartbeat_interval, self.max_portfolios,
        )  # fmt: skip

    def _build(self) -> None:
        c = self._config
        self._alert_producer: Producer = bus.make_producer(f"{self.node_id}.alerts", linger_ms=5)
        alerter = self._alerter = Alerter(self.node_id, self._alert_producer)
        # Not longer than the lease: an order that Kafka did not take is sent again by whoever owns it then.
        give_up = {"message.timeout.ms": int(1000 * min(c.resend_interval, c.heartbeat_ttl * 5 / 6))}
        orders = bus.make_producer(f"{self.node_id}.orders", **give_up)
        self._kafka = KafkaWatch(self.node_id, orders, alerter)
        self._straight = Straight(
            f"direct_{self.node_id}", Caller(), lambda: self._kafka.away, self._lease, alerter,
            after=c.degraded_after, keep=c.resend_interval,
        )  # fmt: skip
        self._sender = Sender(orders, self._lease, self._straight)
        self._checkpointer = Checkpointer(f"checkpointer_{self.node_id}", self._sender, alerter)
        self._market = LogConsumer(f"market_{self.node_id}", self._consumer("market"), decode_price, alerter)
        self._feedback = LogConsumer(f"feedback_{self.node_id}", self._consumer("feedback"), decode_feedback, alerter)
        self._catalogue = TopicCatalogue(topic_admin.catalogue)
        self._readers = Readers(
            lambda: bus.make_consumer(f"{self.node_id}.join", None, **{"enable.partition.eof": True})
        )
        self._context = Context(
            node_id=self.node_id,
            limits=Limits(c.max_queue_size, c.checkpoint_interval, c.resend_interval, c.stop_timeout),
            market=self._market,
            feedback=self._feedback,
            checkpointer=self._checkpointer,
            sender=self._sender,
            lease=self._lease,
            alerter=alerter,
            catalogue=self._catalogue,
            readers=self._readers,
            trading_days=self._trading_days,
            partition_pruning=self._pruning,
        )
        self._lag = LagMeter(self.node_id, min(5.0, c.heartbeat_interval), self._places)
        self._trimmer = Trimmer(self.node_id)
        self._metrics = Metrics(self._market, self._checkpointer, self._sender, self._lag)
        self._load = LoadMeter()
        self._heartbeat = Heartbeat(
            self._identity, self._lease, c.heartbeat_interval, c.heartbeat_ttl,
            info=self._info, metrics=self._read_metrics, views=self._views, watch=self._watch,
            on_replaced=self._on_replaced, measured=self._measured,
        )  # fmt: skip
        self._reconciler = Reconciler(
            self.node_id, c.reconcile_interval, self._running, self._carry_out, lambda: dict(self._refused)
        )
        self._announcer = Announcer(self.node_id, self._identity.instance, self._wanted_codes, c.interest_interval)
        self._dispatcher = Dispatcher(self.node_id, self._handlers())
        self._control = ControlListener(
            self.node_id,
            PoisonCounter(alerter),
            self._on_schedule,
            self._on_command,
            lambda _: self._announcer.request(),
        )

    def _consumer(self, what: str) -> Callable[[], Consumer]:
        return lambda: bus.make_consumer(f"{self.node_id}.{what}")

    def _threads(self) -> list[NodeThread]:
        return [
            self._heartbeat, self._checkpointer, self._feedback, self._market, self._control, self._announcer,
            self._reconciler, self._lag, self._kafka, self._straight, self._trimmer,
        ]  # fmt: skip

    def _take_new_epochs(self) -> None:
        """What this id owned before belongs to a process that is gone: its epochs must end with it (SPEC N10)."""
        if connections.kill(self.node_id, but=self._identity.instance):
            log.warning("The connections of an earlier process of %s to MySQL were still there: killed", self.node_id)
        for owned in ownership.owned_by(self.node_id):
            ownership.hand_over(owned, self.node_id, f"{self.node_id} has started anew")
        close_old_connections()

    def _learn_rules(self) -> None:
        """Of all markets that portfolios have: the first to move here would stand still for half a second."""
        for market in Portfolio.objects.values_list("market", flat=True).distinct():
            try:
                self._context.rules(market)
            except CalendarError as error:
                log.warning("The trading days of market %s are not known: %s", market, error)

    def _trading_days(self, market: str) -> tuple[date, ...]:
        return trading_days(market, self._home)

    # -- what it runs --------------------------------------------------------------------------------------------------

    def _running(self) -> Mapping[str, Running]:
        with self._lock:
            return {
                pid: Running(p.epoch, p.config_version, not p.is_alive()) for pid, p in self._processors.items()
            }  # fmt: skip

    def _carry_out(self, steps: Steps) -> None:
        now = time.monotonic()
        with self._lock:
            for portfolio_id in steps.forget:
                self._forget(self._processors.pop(portfolio_id), now)
            for portfolio_id in (*steps.discard, *steps.stop, *steps.reload):
                ending = "user_stop" if portfolio_id in steps.stop else "discard"
                processor = self._processors[portfolio_id]
                if portfolio_id in steps.reload:
                    processor.reload()
                elif not processor.stopping.is_set():
                    log.info(
                        "Portfolio %s: %s", portfolio_id, "stopping" if ending == "user_stop" else "dropped: not ours"
                    )
                    processor.end(ending, time.monotonic() + self._config.stop_timeout)  # type: ignore[arg-type]
            for portfolio_id in steps.adjust:
                self._processors[portfolio_id].adjust()
            for portfolio_id, epoch in steps.start:
                if self._stopped.is_set():
                    continue
                if wait := self._restarts.wait(portfolio_id, now):
                    self._reconciler.wake_in(wait)
                    continue
                self._restarts.started(portfolio_id, now)
                processor = self._processors[portfolio_id] = Processor(self._context, portfolio_id, epoch)
                processor.start()
        if steps.forget:
            self._reconciler.wake()

    def _forget(self, processor: Processor, now: float) -> None:
        """It has ended. One that could not be made is not tried again until something about it has changed; one that
        died is, in a while.
        """
        self._metrics.retire(processor)
        if processor.failure:
            self._refused[processor.portfolio_id] = (processor.epoch, processor.loaded_version)
        else:
            self._refused.pop(processor.portfolio_id, None)
        if processor.error is None:
            self._restarts.forget(processor.portfolio_id)
            return
        pause = self._restarts.died(processor.portfolio_id, now)
        if processor.died:
            self._alerter.raise_alert(
                "component_error", "critical", f"Portfolio {processor.portfolio_id} died and is started again in "
                f"{pause:g} s: {processor.error}", at_most_every=60, subject=processor.portfolio_id,
                portfolio_id=processor.portfolio_id,
            )  # fmt: skip

    # -- commands ------------------------------------------------------------------------------------------------------

    @property
    def dispatcher(self) -> Dispatcher:
        return self._dispatcher

    def _handlers(self) -> dict[str, Callable[[Order], str]]:
        def wake(_order: Order) -> str:
            self._reconciler.wake()
            return "reconciling"

        def try_again(order: Order) -> str:
            self._refused.pop(order.target_id, None)
            self._restarts.forget(order.target_id)
            return wake(order)

        names = ("portfolio.adjust", "portfolio.migrate_in", "node.drain", "node.enable")
        return {
            **dict.fromkeys(names, wake),
            **dict.fromkeys(("portfolio.start", "portfolio.stop", "portfolio.reload"), try_again),
            "portfolio.migrate_out": self._migrate_out,
            "node.shutdown": self._shut_down,
        }

    def _migrate_out(self, order: Order) -> str:
        """The source's part of a planned move: stop, and let the last checkpoint and the hand-over be one (SPEC S4)."""
        target = str(order.params.get("target", ownership.NOBODY))
        with self._lock:
            processor = self._processors.get(order.target_id)
        if processor is None or processor.epoch != order.epoch:
            return "not run here at this epoch"
        processor.target = target
        processor.end("give_back", time.monotonic() + self._config.stop_timeout)
        processor.join(self._config.stop_timeout)
        return f"handed over to {target or 'nobody'}" if processor.given_back else "could not be handed over"

    def _shut_down(self, _order: Order) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "shutting down"

    def _on_replaced(self) -> None:
        """Another process runs under this id: everything here is its, and its epochs keep us from doing harm."""
        if not self._replaced.is_set():
            self._replaced.set()
            log.critical("Node id %s was taken by another process while this one was away: stopping", self.node_id)
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_schedule(self, update: ScheduleUpdate) -> None:
        log.info("Plan %d: %d portfolios for %s", update.plan_version, len(update.portfolios), self.node_id)
        self._reconciler.wake()

    def _on_command(self, command: ControlCommand) -> None:
        """Kafka's door is open to everybody: only what is meant for this node, and for nodes, is executed here."""
        if command.command_type in _NOT_FOR_NODES:
            return
        if command.target_id != self.node_id and command.target_id not in self._processors:
            return
        insist(self._dispatcher.attempt, order_of(command), self._control.stopping)

    # -- what it says of itself ----------------------------------------------------------------------------------------

    def _info(self) -> dict[str, str]:
        me = self._identity
        return {
            "host": me.host,
            "pid": str(me.pid),
            "process_started": f"{me.started:.3f}",
            "instance": me.instance,
            "started_at": self._started_at.isoformat(),
            "max_portfolios": str(self.max_portfolios),
            "version": _version(),
            "state": "stopping" if self._stopped.is_set() else self._state,
            "health": "; ".join(self._faults) or "well",
        }

    def _read_metrics(self) -> dict[str, str]:
        with self._lock:  # whoever is retired meanwhile would be counted twice
            return self._metrics.read(self._processors.values())

    def _views(self) -> dict[str, tuple[Mapping[str, str], list[bytes]]]:
        with self._lock:
            processors = [p for p in self._processors.values() if p.view and p.running.is_set()]
        return {p.portfolio_id: (p.view, p.take_decisions()) for p in processors}

    def _measured(self) -> Mapping[str, Measured]:
        with self._lock:
            processors = list(self._processors.values())
        return self._load.read(processors)

    def _places(self) -> Mapping[Position, int]:
        def offset_of(portfolio_id: str, position: Position) -> int | None:
            with self._lock:
                processor = self._processors.get(portfolio_id)
            run = processor.runtime if processor is not None else None
            return run.next_offset(position) if run is not None else None

        return slowest((self._market, self._feedback), offset_of)

    def _wanted_codes(self) -> frozenset[str]:
        return frozenset(self._market.interest.keys())

    def _on_death(self, thread: NodeThread) -> None:
        """A thread's own last word: nobody has to live on for it to be heard, not even the one that watches."""
        self._mortality(thread)
        if not self._stopped.is_set():
            self._mourn(thread)

    def _mourn(self, thread: NodeThread) -> None:
        """Say once that it has died."""
        with self._lock:
            if thread.name in self._dead:
                return
            self._dead = self._dead | {thread.name}
        self._alerter.raise_alert(
            "component_error", "critical", f"Thread {thread.name} of {self.node_id} has died: {thread.error}",
            thread=thread.name,
        )  # fmt: skip

    def _watch(self) -> None:
        """Notice dead threads and the end of the lease; both make the node unhealthy, and are said once."""
        for thread in self._threads():
            if thread.died:
                self._mourn(thread)
        if self._state == "starting" or self._stopped.is_set():
            return
        database = self._checkpointer.works and self._reconciler.reachable
        found = faults(self._dead, database, kafka=not self._kafka.away)
        if found != self._faults:
            self._faults = found
            self._heartbeat.hurry()
        if not self._lease.valid:
            state = "fenced"
        else:
            state = "unhealthy" if found else "running"
        if state != self._state:
            why = f": {'; '.join(found)}" if found else ""
            log.warning("ExecutionNode %s is %s (was %s)%s", self.node_id, state, self._state, why)
            self._state = state
            if state == "running":
                self._reconciler.wake()

    # -- stopping ------------------------------------------------------------------------------------------------------

    def stop(self, timeout: float | None = None) -> None:
        """Stop in one deadline, in this order (SPEC N12). Safe to call twice, and before start.

        1. say so in Redis, for whatever is given back from here on is to be placed elsewhere; take in nothing new: no
           more reconciling, no more commands, no more ticks routed;
        2. every portfolio drains its queue, waits up to 2 s for answers, and saves itself and is given back in one
           transaction: from then on the scheduler may place it elsewhere;
        3. the checkpointer and the sender finish what they hold;
        4. stop the heartbeat, delete the node's keys, say goodbye — not earlier: until here it still owned portfolios;
           nor the other way round: who hears the goodbye looks into Redis;
        5. close Kafka.
        """
        if not self._started.is_set() or self._stopped.is_set():
            return
        self._stopped.set()
        deadline = time.monotonic() + (timeout or self._config.stop_timeout)
        log.info("Stopping ExecutionNode %s gracefully", self.node_id)
        for thread in (self._reconciler, self._control):
            thread.request_stop()
        self._market.paused.set()
        self._heartbeat.tell()
        self._reconciler.join(_left(deadline))

        with self._lock:
            processors = list(self._processors.values())
        log.info("Waiting for queues to drain (%d messages remaining)", sum(p.queued for p in processors))
        for processor in processors:
            if not processor.stopping.is_set():
                processor.end("give_back", deadline - _KAFKA_SHARE)
        for processor in processors:
            processor.join(_left(deadline - _KAFKA_SHARE))
            if not processor.given_back and processor.is_alive():
                log.error("Portfolio %s was not given back in time; the scheduler will move it", processor.portfolio_id)

        self._checkpointer.request_stop()
        self._checkpointer.join(_left(deadline))
        for last in (self._straight, self._kafka):
            last.request_stop()
            last.join(_left(deadline))
        undelivered = self._sender.close(min(2.0, _left(deadline)))
        if undelivered:
            log.error("%d orders were not delivered to Kafka; their portfolios' next owners send them", undelivered)

        self._heartbeat.request_stop()
        self._heartbeat.join(_left(deadline))
        self._heartbeat.leave()
        self._announcer.request_stop()
        self._announcer.join(_left(deadline))

        rest: tuple[NodeThread, ...] = (self._market, self._feedback, self._control, self._lag, self._trimmer)
        for each in rest:
            each.request_stop()
        for each in rest:
            each.join(_left(deadline))
        self._readers.close()
        self._alert_producer.flush(min(1.0, _left(deadline)))
        connections.leave()
        log.info("ExecutionNode %s stopped", self.node_id)


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _version() -> str:
    try:
        return version("ginkgo-live")
    except PackageNotFoundError:
        return "unknown"
