"""Puts the simulated machine under the product: from here on, in this process, its modules find these in the place of
threads, the clock, Kafka, Redis, the database and the broker. Everything else is the product's own code.
"""

from __future__ import annotations

import importlib
import logging
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from django.db import models
from django.db.models import OuterRef

from market import bus
from market.alerting import Alerter
from market.direct import ELSEWHERE, FAILED, Answer, Call
from market.engine.reception import Reception
from market.messages import OrderMessage, id_of
from market.models import (
    CancelRequest,
    EngineSwitch,
    FeedbackCounter,
    FencedMessage,
    Fill,
    LogDebt,
    Order,
    OutboxMessage,
)
from nodes.identity import Identity
from nodes.metrics import Metrics
from nodes.thread import NodeThread
from portfolios import livestate
from portfolios.models import Account, Adjustment, Assignment, Checkpoint, Command, LedgerEntry, Portfolio, Revision
from scheduler.models import Node, PlannedMove, Requirement
from tests.protocol import connection, database, kafka, query, sql, threads
from tests.protocol.hub import Process, Task, Violation, hub
from tests.protocol.redis import Redis

MODELS: tuple[type[models.Model], ...] = (
    Account,
    Adjustment,
    Assignment,
    CancelRequest,
    Checkpoint,
    Command,
    EngineSwitch,
    FeedbackCounter,
    FencedMessage,
    Fill,
    LedgerEntry,
    LogDebt,
    Node,
    Order,
    OutboxMessage,
    PlannedMove,
    Portfolio,
    Requirement,
    Revision,
)

_MODULES = (
    "market.dispatcher",
    "market.engine.books",
    "market.engine.debt",
    "market.engine.desk",
    "market.engine.rulebook",
    "market.engine.transactions",
    "market.engine.watch",
    "market.outbox",
    "market.submissions",
    "nodes.adjustments",
    "nodes.answers",
    "nodes.checkpointer",
    "nodes.consumer",
    "nodes.context",
    "nodes.direct",
    "nodes.ending",
    "nodes.heartbeat",
    "nodes.holding",
    "nodes.joiner",
    "nodes.joining",
    "nodes.lease",
    "nodes.mortality",
    "nodes.node",
    "nodes.processor",
    "nodes.reconciler",
    "nodes.reload",
    "nodes.sender",
    "nodes.thread",
    "portfolios.adjustments",
    "portfolios.checkpoints",
    "portfolios.lifecycle",
    "portfolios.ownership",
    "scheduler.assignments",
    "scheduler.handover",
    "scheduler.moves",
)


_PURE = (
    ("market.bus", "partition_of"), ("market.submissions", "partition_of"), ("nodes.runtime", "parse"),
    ("portfolios.kernel.team", "find"),
)  # fmt: skip


def _remembering(function: Any) -> Any:
    known: dict[Any, Any] = {}

    def remembering(*arguments: Any) -> Any:
        key = tuple(repr(each) for each in arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return remembering


_MEMORY = {
    "connection": connection.Connection,
    "transaction": connection.TransactionModule,
    "Exists": query.Exists,
    "Subquery": query.Subquery,
    "close_old_connections": connection.close_old_connections,
}
_SQL = {
    "connection": sql.SqlConnection,
    "transaction": sql.SqlTransactionModule,
    "close_old_connections": connection.close_old_connections,
}


class Servers:
    """The servers of one schedule."""

    def __init__(self) -> None:
        self.log = kafka.Log()
        self.redis = Redis()
        self.alerts: list[tuple[str, str]] = []
        self.doors: dict[str, tuple[Process, Reception]] = {}
        """Where engines take orders straight from nodes."""
        self.sent: list[tuple[str, dict[str, Any]]] = []
        """Commands on their way to nodes: (queue, arguments)."""


servers = Servers()


def use(new: Servers) -> None:
    global servers  # noqa: PLW0603
    servers = new


class Alerts(Alerter):
    """Keeps what is raised."""

    def __init__(self, *_: Any) -> None:
        pass

    def raise_alert(self, alert_type: str, severity: Any, message: str, *_: Any, **__: Any) -> bool:
        servers.alerts.append((alert_type, message))
        if "cannot be taken in" in message or "cannot be run" in message or "skips the event" in message:
            hub().failed = hub().failed or Violation(f"alert {alert_type}: {message}")
        if hub().trace is not None:
            hub().note(f"alert {alert_type}: {message}")
        return True


class NoThread:
    """In the place of a node's ear and mouth for commands and interest: the world brings the commands itself."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.stopping = threads.Event()

    def request_stop(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool:
        return True

    died = False


class KafkaWatch(NoThread):
    """Knows at once."""

    @property
    def away(self) -> bool:
        return servers.log.away or servers.log.cut


class Caller:
    """In the place of the node's line to the engines. A call is a thread of the engine that is called: it may be
    carried out later than its caller waits, or its answer may be lost.
    """

    def __call__(self, messages: Sequence[OrderMessage]) -> dict[str, str]:
        found: dict[str, str] = {}
        for anyone in (False, True):
            for process, reception in list(servers.doors.values()):
                left = [each for each in messages if id_of(each) not in found]
                if not left:
                    return found
                answer = _ask(process, reception, Call(left, anyone))
                if answer is None or answer.fault:
                    continue
                for message, outcome in zip(left, answer.outcomes, strict=True):
                    if outcome not in (ELSEWHERE, FAILED):
                        found[id_of(message)] = outcome
        return found


def _ask(process: Process, reception: Reception, call: Call) -> Answer | None:
    hub().pause()
    if not process.alive:
        return None
    answers: list[Answer] = []
    waiting: list[Task] = []

    def serve() -> None:
        hub().pause()
        answers.append(reception.take(call))
        hub().wake(waiting)

    hub().spawn(process, "door", serve)
    hub().wait(waiting, 3.0)
    lost = servers.log.failing and hub().chance() < servers.log.failing
    return answers[0] if answers and not lost else None


class OneForAll:
    """In the place of the connection that a node's threads share: here each process has just one."""

    there = True

    def share(self) -> None:
        pass

    def borrowed(self) -> AbstractContextManager[None]:
        return nullcontext()


class Figures(Metrics):
    def __init__(self, *_: Any) -> None:
        self._retired = {"events": 0, "dropped": 0, "pressure": 0, "skipped": 0}

    def read(self, processors: Any) -> dict[str, str]:
        return {}


class _LaterTable(query.Subquery):
    """A subquery made before there is a database: it asks that of the day."""

    def of(self, outer: database.Table, row: database.Row) -> Any:
        asked = self.query.altered(table=database.database().table(self.query.table.model))
        return query.Subquery(asked).of(outer, row)


def atomic() -> Any:
    """A transaction, of whichever database it is."""
    return importlib.import_module("scheduler.moves").transaction.atomic()


def _producer(*_: Any, **__: Any) -> kafka.Producer:
    return kafka.Producer(servers.log, _process())


def _consumer(*_: Any, **__: Any) -> kafka.Consumer:
    return kafka.Consumer(servers.log, _process())


def _process() -> Any:
    task = hub().current
    assert task is not None
    return task.process


def _identity(node_id: str) -> Identity:
    return Identity(node_id, _process().name, "here", 1, 0.0)


def _uuid4() -> uuid.UUID:
    return uuid.UUID(int=hub().names.getrandbits(128), version=4)


def _end_this_process(*_: Any) -> None:
    _process().frozen = True


def install(real_sql: bool = False) -> None:
    """Once in a process, after `django.setup()`. `real_sql` leaves the database to Django."""
    logging.disable(logging.CRITICAL)
    for name in _MODULES:
        module = importlib.import_module(name)
        ports: tuple[tuple[str, Any], ...] = (("threading", threads.Threading), ("time", threads.Time))
        for attribute, port in ports:
            if hasattr(module, attribute):
                setattr(module, attribute, port)
        for attribute, port in (_SQL if real_sql else _MEMORY).items():
            if hasattr(module, attribute):
                setattr(module, attribute, port)
    if real_sql:
        sql.install(MODELS)
    else:
        for model in MODELS:
            type.__setattr__(model, "objects", query.Manager())
            type.__setattr__(model, "save", query.save)
        # Made from models when its module was.
        books = importlib.import_module("market.engine.books")
        newest = query.Query(database.Table(LedgerEntry)).filter(portfolio_id=OuterRef("pk"), adjustment__isnull=False)
        books._NEWEST_ADJUSTMENT = _LaterTable(newest.order_by("-id").values("id")[:1])  # type: ignore[attr-defined]
    for name in ("start", "is_alive", "join"):
        setattr(NodeThread, name, getattr(threads, name))
    NodeThread.ident = property(threads.ident)  # type: ignore[assignment]

    node = importlib.import_module("nodes.node")
    node.Alerter = Alerts  # type: ignore[attr-defined]
    node.Announcer = node.ControlListener = node.LagMeter = NoThread  # type: ignore[attr-defined]
    # Measures by the real clock.
    node.LoadMeter = lambda: SimpleNamespace(read=lambda _: {})  # type: ignore[attr-defined]
    node.Metrics = Figures  # type: ignore[attr-defined]
    importlib.import_module("nodes.checkpointer").SharedConnection = OneForAll  # type: ignore[attr-defined]
    node.KafkaWatch, node.Caller = KafkaWatch, Caller  # type: ignore[attr-defined]
    node.trading_days = lambda *_: ()  # type: ignore[attr-defined]
    node.identity = SimpleNamespace(of_this_process=_identity, ensure_free=lambda *_: None)  # type: ignore[attr-defined]
    node.topic_admin = SimpleNamespace(  # type: ignore[attr-defined]
        catalogue=lambda: {topic: ("id", count) for topic, count in kafka.PARTITIONS.items()}
    )
    node._version = lambda: "simulated"  # type: ignore[attr-defined]
    node.os = SimpleNamespace(kill=_end_this_process, getpid=lambda: 1)  # type: ignore[attr-defined]
    # Pure functions, asked the same thing in every schedule: remembered.
    for name, function in _PURE:
        module = importlib.import_module(name)
        setattr(module, function, _remembering(getattr(module, function)))
    kafka.partition_of = bus.partition_of  # type: ignore[attr-defined]
    bus.make_producer = _producer  # type: ignore[assignment]
    bus.make_consumer = _consumer  # type: ignore[assignment]
    bus.bootstrap = lambda: "simulated"
    livestate.client = lambda timeout=0.0: servers.redis  # type: ignore[assignment,return-value]
    fields = importlib.import_module("portfolios.models.fields")
    fields.uuid = SimpleNamespace(uuid4=_uuid4)  # type: ignore[attr-defined]
    wires = importlib.import_module("scheduler.commands")
    wires.wires = SimpleNamespace(send_task=_send_task)  # type: ignore[attr-defined]


def _send_task(_name: str, queue: str, _expires: float, **arguments: Any) -> str:
    servers.sent.append((queue, arguments))
    return ""
