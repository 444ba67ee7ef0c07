"""One engine as a process has it: its parts wired together, their threads, the order in which they stop."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from django.conf import settings

from market import memory
from market.alerting import Alerter
from market.brokers import UnknownBroker, make_broker
from market.bus import bootstrap, make_consumer, make_producer
from market.engine.books import Books
from market.engine.causes import Causes
from market.engine.commands import CommandDoor
from market.engine.debt import Debt
from market.engine.decisions import ended_by_hand
from market.engine.desk import Desk
from market.engine.door import Door
from market.engine.intake import Intake
from market.engine.reception import Reception
from market.engine.rulebook import Rulebook
from market.engine.slot import Slot
from market.engine.status import StatusBoard
from market.engine.threads import EngineThread
from market.engine.voice import Voice
from market.engine.watch import BrokerWatch, SwitchWatch
from market.outbox import ROUND_TRIP, Outbox
from market.pretrade import Limits
from market.reach import Reach
from market.reconciliation_watch import ReconciliationWatch
from market.submissions import GROUP, Partitions, Submissions
from portfolios.kernel.money import to_units

log = logging.getLogger(__name__)

STOP_WITHIN = 8.0


class EngineService:
    """Made once, started once, stopped once."""

    def __init__(self) -> None:
        """Opens no connection yet but reads Kafka's address: raises KafkaUnavailable, UnknownBroker, OSError."""
        config = settings.GINKGO.engine
        self._address = bootstrap()
        self.slot = Slot(settings.GINKGO.home)
        self._alerts = make_producer(f"ginkgo-{self.slot.name}-alerts")
        self._answers = make_producer(
            f"ginkgo-{self.slot.name}-feedback", **{"message.timeout.ms": int(ROUND_TRIP * 1000)}
        )
        self._log = make_producer(f"ginkgo-{self.slot.name}-log", **{"message.timeout.ms": int(ROUND_TRIP * 1000)})
        alerter = self._alerter = Alerter("engine", self._alerts)
        options = settings.GINKGO.brokers.get(config.broker, {})
        self._broker = make_broker(config.broker, options, alerter)
        try:
            self._rulebook = Rulebook(settings.GINKGO.home, options.get("commission_rate"))
        except ValueError as error:
            raise UnknownBroker(f"brokers.{config.broker}.{error}") from None
        books = Books(self._rulebook)
        mine = self._mine = Partitions()
        self._outbox = Outbox(self._answers, mine)
        limits = Limits(
            max_orders_per_minute=config.max_orders_per_minute,
            max_order_value=to_units(config.max_order_value),
            max_daily_turnover=to_units(config.max_daily_turnover),
            max_order_age=config.max_order_age,
        )
        causes = Causes(lambda: make_consumer("ginkgo-causes"))
        intake = Intake(books, limits, self._broker, self._broker.name, causes)
        desk = Desk(books, intake, self._broker, Voice(alerter), self._outbox.wake, mine)
        self._submissions = Submissions(self._consumer, desk, mine, alerter)
        reach = self._reach = Reach(self._log, self._on_reach)
        self._reception = Reception(desk, mine, lambda: mine.unknown and reach.away)
        self._door: Door | None = None
        if config.door_host is not None:
            address = (config.door_host, config.door_port or 0)
            self._door = Door(self.slot.name, address, self._reception, alerter)
        broker_watch = BrokerWatch(self._broker, desk, mine.cares_for, ended_by_hand)
        reconciliation = ReconciliationWatch(
            self._broker, alerter, config.reconcile_interval, lambda: broker_watch.outages
        )
        self._threads = {
            **({"door": EngineThread("door", self._door.run)} if self._door is not None else {}),
            "reach": EngineThread("reach", reach.run),
            "debt": EngineThread("log-debt", Debt(self._log, mine, lambda: reach.away).run),
            "outbox": EngineThread("outbox", self._outbox.run),
            "broker": EngineThread("broker-news", broker_watch.run),
            "reconciliation": EngineThread("reconciliation", reconciliation.run),
            "switch": EngineThread("switch", SwitchWatch(desk, mine.cares_for, config.switch_interval).run),
            "commands": EngineThread("commands", CommandDoor(self.slot.name, alerter).run),
            "status": EngineThread("status", StatusBoard(self._facts).run),
            "memory": EngineThread("memory", memory.keep_trimming),
            "submissions": EngineThread("submissions", self._submissions.run),
        }

    def start(self) -> None:
        # The trading days take seconds the first time: before orders come, not in the midst of them.
        self._rulebook("cn")
        self._broker.start()
        for thread in self._threads.values():
            thread.start()

    def fault(self) -> str | None:
        """Why this process cannot go on, in one line, or None."""
        dead = [thread.name for thread in self._threads.values() if thread.died]
        if (name := self._broker.dead_thread()) is not None:
            dead.append(name)
        if dead:
            return f"the engine's thread {dead[0]} died: see the log"
        if (address := bootstrap()) != self._address:
            return f"Kafka has moved from {self._address} to {address}: the engine has to be started again"
        return None

    def stop(self, timeout: float = STOP_WITHIN) -> None:
        """Stop within `timeout` seconds: take nothing in, book and tell what is known, give the partitions back."""
        deadline = time.monotonic() + timeout

        def left(at_most: float = timeout) -> float:
            return max(min(deadline - time.monotonic(), at_most), 0.0)

        # 1. Nothing new comes in; what is being taken in is finished.
        for name in ("door", "reach", "debt"):
            if name in self._threads:
                self._threads[name].stopping.set()
        self._end(self._threads["submissions"], left())
        if self._door is not None:
            self._end(self._threads["door"], left(3.0))
        self._threads["commands"].stopping.set()
        self._end(self._threads["switch"], left())
        self._end(self._threads["reconciliation"], left(1.0))
        # 2. The broker works no more; its last news is booked.
        self._broker.stop(left(3.0))
        self._end(self._threads["broker"], left(1.0))
        # 3. All answers are told, while the partitions are still ours.
        self._end(self._threads["outbox"], left(1.0))
        if not self._outbox.drain(left(3.0)):
            log.warning("Not all feedback could be told; the next start does it")
        # 4. Offsets, then the partitions; a later reader finds nothing undone.
        if not self._threads["submissions"].is_alive():
            self._submissions.close()
        self._end(self._threads["commands"], left(1.0))
        self._end(self._threads["status"], left(1.5))
        self._end(self._threads["memory"], left(0.5))
        self._alerts.flush(left(1.0))

    @staticmethod
    def _end(thread: EngineThread, timeout: float) -> None:
        thread.stopping.set()
        if thread.ident is not None:
            thread.join(timeout)

    def _consumer(self) -> Any:
        return make_consumer(
            f"ginkgo-{self.slot.name}",
            group_id=GROUP,
            **{
                "group.instance.id": self.slot.name,
                "topic.metadata.refresh.interval.ms": 10_000,
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "auto.offset.reset": "earliest",
            },
        )

    def _on_reach(self, away: bool, seconds: float) -> None:
        if away:
            self._alerter.raise_alert(
                "kafka_unavailable",
                "critical",
                "Kafka does not answer the engine: orders come only straight from nodes, answers wait in the database",
            )
        else:
            self._alerter.raise_alert("kafka_back", "info", f"Kafka answers the engine again, after {seconds:.0f} s")
            self._outbox.wake()

    def _facts(self) -> dict[str, Any]:
        at = self._submissions.last_order
        return {
            "broker": self._broker.name,
            "partitions": ",".join(map(str, sorted(self._mine.numbers))),
            "waiting_for": "Kafka" if self._outbox.failing or self._reach.away else self._submissions.waiting_for,
            "kafka": "away" if self._reach.away else "up",
            "straight": self._reception.taken,
            "door_refused": self._door.refused if self._door is not None else 0,
            "last_order_at": at.isoformat() if at is not None else None,
        }


def supervise(service: EngineService, stop: threading.Event) -> str | None:
    """Until `stop` is set (None) or the service cannot go on (why)."""
    while not stop.wait(0.25):
        if (fault := service.fault()) is not None:
            return fault
    return None
