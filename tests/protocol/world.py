"""One schedule: a seed makes a small cluster, lets everything happen to it that can, then lets it calm down.

The nodes, engines and hand-overs are the product's own; what happens to them is here.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import redis
from django.db import Error as DatabaseError

from market import topics
from market.dispatcher import Order as Command
from market.engine.books import Books
from market.engine.debt import Debt
from market.engine.desk import Desk
from market.engine.intake import Intake
from market.engine.reception import Reception
from market.engine.voice import Voice
from market.engine.watch import BrokerWatch
from market.messages import encode
from market.models import FeedbackCounter, LogDebt, Order, OutboxMessage
from market.outbox import Outbox
from market.pretrade import Limits
from market.submissions import Partitions, Submissions
from nodes.node import Node
from nodes.thread import NodeThread
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import rules_for
from portfolios.models import Account, Adjustment, Assignment, Checkpoint, Portfolio, Revision
from portfolios.ownership import NOBODY, Ownership
from scheduler import assignments, moves
from scheduler.handover import give
from tests.protocol import components, database, hub, kafka, ports, threads
from tests.protocol.broker import MORNING, Connection, Exchange
from tests.protocol.components import THREE_LOTS, WITNESS
from tests.protocol.database import Database
from tests.protocol.hub import Hub, Process, Violation
from tests.protocol.oracle import Oracle
from tests.protocol.plan import FOREVER, draw
from tests.protocol.sql import SqlDatabase

CODES = ("600519.SH", "000001.SZ", "601318.SH")
PORTFOLIOS = tuple(str(uuid.uuid5(uuid.NAMESPACE_URL, f"portfolio-{n}")) for n in (1, 2, 3))
NODES = ("node-a", "node-b")
ENGINES = ("engine-a", "engine-b")
_LIMITS = Limits(max_orders_per_minute=10**6, max_order_value=10**15, max_daily_turnover=10**18)
_LIMPING, _LIMPING_STEPS = 0.4, 1_000
_CALM_STEPS = 12_000
_DETOUR_STEPS = 2_000


class SimulatedNode(Node):
    """The product's node. Without a TTL that can pass it needs no heartbeat: it has its lease for ever."""

    def _threads(self) -> list[NodeThread]:
        parts: list[NodeThread] = [
            self._checkpointer, self._feedback, self._market, self._reconciler, self._straight
        ]  # fmt: skip
        return parts if self._config.heartbeat_ttl == FOREVER else [self._heartbeat, *parts]


_RULES = rules_for("cn")


def _rulebook(_market: str) -> Any:
    return _RULES


class Cluster:
    """`run` raises Violation."""

    def __init__(self, seed: int, store: str = "memory", trace: bool = False) -> None:
        self.seed = seed
        self.hub = Hub(seed)
        self.chance = self.hub.chance
        self.plan = draw(self.chance)
        self.hub.density = self.plan.density
        if trace:
            self.hub.trace = []
        hub.use(self.hub)
        self.servers = ports.Servers()
        ports.use(self.servers)
        self.log = self.servers.log
        self.db = SqlDatabase() if store == "sql" else Database(serial=store == "serial")
        database.use(self.db)
        self.exchange = Exchange(self.log)
        self.oracle = Oracle(self.db, self.log, self.exchange)
        self.oracle.one_engine = self.plan.engines == 1
        self.oracle.watch()
        self.portfolios = list(PORTFOLIOS[: self.plan.portfolios])
        self.nodes: dict[str, SimulatedNode] = {}
        self.running: dict[str, Process] = {}
        self.ticks = dict.fromkeys(CODES, 0)
        self.published = 0
        self.started = 0
        self.leaving: list[Process] = []
        self.raised: dict[tuple[str, int], int] = {}
        components.tantrum = self._raises if self.plan.tantrums else components.calm
        self._insert(Account(id="account", name="paper", owner_id=1, currency="CNY"))
        for pid in self.portfolios:
            self._install(pid)

    # -- making it -----------------------------------------------------------------------------------------------------

    def _install(self, pid: str) -> None:
        codes = list(CODES[:1] if self.chance() < 0.5 else CODES[:2])
        config = {
            "strategy": {"name": WITNESS, "params": {"buys": 1 + int(self.chance() * 2), "sells": 3}},
            "risk_managements": [],
            "sizer": {"name": THREE_LOTS},
            "codes": codes,
            "policy": {"pyramiding": self.plan.pyramiding, "degraded_send": self.plan.straight},
        }
        self.oracle.started[pid] = {code: int(code in codes) for code in CODES}
        offsets = {topics.MARKET_DATA["cn"]: {str(p): 0 for p in range(2)}}
        self._insert(
            Portfolio(id=pid, name=pid[:4], owner_id=1, market="cn", account_id="account",
                      initial_cash=Decimal(10**6), config=config, desired_state="running"),
            Revision(portfolio_id=pid, version=1, config=config),
            Assignment(portfolio_id=pid),
            Checkpoint(portfolio_id=pid, offsets=offsets),
        )  # fmt: skip

    def _insert(self, *instances: Any) -> None:
        for each in instances:
            type(each).objects.bulk_create([each])

    def _start_node(self, node_id: str) -> None:
        self.started += 1
        process = self._process("node", f"{node_id}/{self.started}")
        self.running[node_id] = process
        plan = self.plan
        config = SimpleNamespace(
            max_portfolios=5, heartbeat_ttl=plan.ttl, heartbeat_interval=10.0, max_queue_size=plan.queue,
            checkpoint_interval=plan.checkpoint_interval, resend_interval=10.0, reconcile_interval=10.0,
            interest_interval=60.0, stop_timeout=30.0, degraded_after=2.0,
        )  # fmt: skip

        def main() -> None:
            node = SimulatedNode(node_id, config, Path())
            try:
                node.prepare()
            except (DatabaseError, redis.RedisError):
                self.leaving.append(process)  # it says so and ends; its supervisor starts it again
                return
            self.nodes[process.name] = node
            node.start()

        self.hub.spawn(process, "main", main)

    def _start_engine(self, name: str) -> None:
        self.started += 1
        process = self._process("engine", f"{name}/{self.started}")
        self.running[name] = process
        alerter = ports.Alerts()
        broker = Connection(self.exchange, process)
        books = Books(_rulebook)  # type: ignore[arg-type]
        mine = Partitions()
        outbox = Outbox(kafka.Producer(self.log, process), mine)  # type: ignore[arg-type]
        intake = Intake(books, _LIMITS, broker, broker.name)
        desk = Desk(books, intake, broker, Voice(alerter), outbox.wake, mine)
        submissions = Submissions(
            lambda: kafka.Consumer(self.log, process, group=True),
            desk,
            mine,
            alerter,  # type: ignore[arg-type,return-value]
        )
        debt = Debt(kafka.Producer(self.log, process), mine, lambda: self.log.away)  # type: ignore[arg-type]
        self.servers.doors[name] = process, Reception(desk, mine, lambda: mine.unknown and self.log.away)
        for what, work in (
            ("outbox", outbox.run),
            ("debt", debt.run),
            ("broker", BrokerWatch(broker, desk, mine.cares_for).run),
            ("submissions", submissions.run),
        ):
            self.hub.spawn(process, what, lambda work=work: work(threads.Event()))  # type: ignore[misc]

    def _process(self, kind: str, name: str) -> Process:
        process = self.hub.process(kind, name)
        process.ends.append(lambda: self.db.abort(process))
        return process

    # -- what happens --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            for name in NODES:
                self._start_node(name)
            for name in ENGINES[: self.plan.engines]:
                self._start_engine(name)
            self._storm()
            self._calm_down()
            self.oracle.judge(self.portfolios, self.ticks)
        finally:
            self.hub.end()

    def _storm(self) -> None:
        plan, chance, machine = self.plan, self.chance, self.hub
        deck: list[Callable[[], None]] = []
        for count, act in (
            (plan.ticks, self._tick), (plan.crashes, self._crash), (plan.freezes, self._freeze),
            (plan.handovers + plan.portfolios, self._hand_over), (plan.moves, self._move), (plan.stops, self._user),
            (plan.reloads, self._reload), (plan.node_stops, self._stop_node), (plan.database, self._database_fails),
            (plan.cuts, self._cut), (2 + plan.ticks // 2, self._trade), (1 + plan.crashes, self._mend),
            (plan.deposits, self._deposit),
            (2 * plan.deposits, lambda: self._wake(*NODES)),
            (plan.freezes, self._expire), (1 + plan.moves, self._settle), (1 + plan.moves, self._deliver),
            (plan.outages, self._kafka_leaves), (plan.outages, self._kafka_comes_back),
        ):  # fmt: skip
            deck += [act] * count
        machine.random.shuffle(deck)
        deck.append(lambda: None)
        self.log.failing, self.exchange.failing, self.exchange.quiet = plan.log, plan.broker, plan.quiet
        self.log.cut = plan.detour
        for name in self.portfolios:
            self._act(lambda name=name: self._give(name, NODES[int(chance() * 2)]))  # type: ignore[misc]
        while deck:
            if chance() < plan.pace:
                deck.pop()()
            machine.step()
            if self.leaving:
                self._bury()

    def _tick(self) -> None:
        code = CODES[int(self.chance() * 2.3)]
        self.ticks[code] += 1
        self.published += 1
        number = self.ticks[code]
        tick = PriceUpdate(
            code=code, timestamp=MORNING + timedelta(seconds=self.published), price=10 + number / 100, prev_close=10.0,
            volume=number,
        )  # fmt: skip
        self.log.append(self.hub.world, topics.market_topic(code), code, encode(tick))

    def _crash(self) -> None:
        process = self._any("node", "engine", "node", "scheduler")
        if process is not None:
            self.hub.kill(process)

    def _freeze(self) -> None:
        process = self._any("node", "engine", "node")
        if process is not None:
            self.hub.freeze(process)
            if process.kind == "engine":
                self.oracle.lenient = True

    def _expire(self) -> None:
        """The group has not heard of a member for its session's time."""
        for name in ENGINES:
            process = self.running.get(name)
            if process is not None and (process.frozen or not process.alive):
                self.log.group.expire(process)

    def _mend(self) -> None:
        """The supervisor starts what is dead, somebody wakes what is frozen."""
        for name, process in list(self.running.items()):
            if not process.alive and self.chance() < 0.6:
                self.log.group.expire(process)
                self._start(name)
            elif process.frozen and self.chance() < 0.6:
                self.hub.thaw(process)
        self.servers.redis.cut_off.clear()

    def _start(self, name: str) -> None:
        if name in NODES:
            self._start_node(name)
        else:
            self._start_engine(name)

    def _hand_over(self) -> None:
        pid, target = self._portfolio(), NODES[int(self.chance() * 2)]
        self._act(lambda: self._give(pid, target))

    def _give(self, pid: str, target: str) -> None:
        row = Assignment.objects.filter(portfolio_id=pid).values_list("portfolio_id", "node_id", "epoch").first()
        assert row is not None
        owner = Ownership(*row)
        self.hub.pause()
        given = give(owner, target, "it is to be so")
        self.hub.note(
            f"{pid[:4]} of {owner.node_id or 'nobody'}, {owner.epoch}, given to {target}: {given is not None}"
        )
        if given is not None:
            self._wake(target)

    def _move(self) -> None:
        pid, target = self._portfolio(), NODES[int(self.chance() * 2)]

        def act() -> None:
            owner = assignments.read().owners[pid]
            if owner.node_id not in (NOBODY, target):
                moves.begin(owner, target, "a plan", self._moment())

        self._act(act)

    def _settle(self) -> None:
        live = frozenset(node for node in NODES if self.chance() < 0.7)

        def act() -> None:
            holdings = assignments.read()
            later = timedelta(seconds=60 if self.chance() < 0.3 else 0)
            moves.settle(holdings.owners, frozenset(d.id for d in holdings.demands), live, self._moment() + later)

        self._act(act)

    def _deliver(self) -> None:
        """Commands come late, twice, in another order, or not at all."""
        sent = self.servers.sent
        if not sent:
            return
        at = int(self.chance() * len(sent))
        queue, arguments = sent[at]
        if self.chance() < 0.7:
            del sent[at]
        process = self.running.get(queue.removeprefix("node."))
        node = self.nodes.get(process.name) if process is not None and process.alive else None
        if node is not None and process is not None and self.chance() < 0.8:
            command = Command(door="celery", **arguments)
            self.hub.note(f"{process} gets {command.command_type}")
            self.hub.spawn(process, "command", lambda: node.dispatcher.execute(command))

    def _user(self) -> None:
        pid = self._portfolio()
        state = "stopped" if self.chance() < 0.6 else "running"
        self.oracle.skips.add(pid)
        self._act(lambda: Portfolio.objects.filter(id=pid).update(desired_state=state))
        self._wake(*NODES)

    def _deposit(self) -> None:
        pid, amount = self._portfolio(), 1000 * (1 + int(self.chance() * 5))
        self.oracle.deposits[pid] = self.oracle.deposits.get(pid, 0) + amount
        request = str(uuid.UUID(int=self.hub.names.getrandbits(128), version=4))
        asked = Adjustment(
            portfolio_id=pid, kind="deposit", amount=Decimal(amount), reason="more", author_id=1, request_id=request
        )
        self._insert(asked)
        self._wake(*NODES)

    def _raises(self, code: str, number: int) -> bool:
        """Now and then it does, at one price at most twice: the third time it would be passed over."""
        if self.hub.chance() >= self.plan.tantrums or self.raised.get((code, number), 0) >= 2:
            return False
        self.raised[code, number] = self.raised.get((code, number), 0) + 1
        return True

    def _reload(self) -> None:
        pid = self._portfolio()

        def act() -> None:
            with ports.atomic():
                row = Portfolio.objects.select_for_update().filter(id=pid).first()
                assert row is not None
                codes = [code for code in CODES if code == CODES[0] or self.chance() < 0.6]
                kept = [code for code in row.config["codes"] if code not in codes]
                config = {
                    **row.config,
                    "codes": kept + codes,
                    "policy": {"pyramiding": self.chance() < 0.5, "degraded_send": self.plan.straight},
                }
                Portfolio.objects.filter(id=pid).update(version=row.version + 1, config=config)
                Revision.objects.bulk_create([Revision(portfolio_id=pid, version=row.version + 1, config=config)])

        self._act(act)
        self._wake(*NODES)

    def _stop_node(self) -> None:
        process = self._any("node")
        node = self.nodes.get(process.name) if process is not None else None
        if process is None or node is None:
            return

        def stop() -> None:
            node.stop()
            self.leaving.append(process)

        self.hub.note(f"stop {process}")
        self.hub.spawn(process, "stop", stop)

    def _database_fails(self) -> None:
        process = self._any("node", "engine")
        if process is not None:
            self.hub.note(f"the database fails for {process}")
            self.db.failing[process] = 1 + int(self.chance() * 4)

    def _cut(self) -> None:
        process = self._any("node")
        if process is not None and self.plan.ttl != FOREVER:
            self.hub.note(f"{process} does not reach Redis")
            self.servers.redis.cut_off.add(process)

    def _kafka_leaves(self) -> None:
        if self.chance() < 0.3:
            self.hub.note("Kafka is away")
            self.log.away = True
        else:
            self.hub.note("Kafka takes no orders of nodes")
            self.log.cut = True

    def _kafka_comes_back(self) -> None:
        if self.log.away or self.log.cut:
            self.hub.note("Kafka is back")
            self.log.come_back()

    def _trade(self) -> None:
        self.exchange.trade()

    def _bury(self) -> None:
        for process in self.leaving:
            self.hub.kill(process)
        self.leaving.clear()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """No more faults, everything is started again, and it must come to rest with all of its work done."""
        machine = self.hub
        machine.note("calm")
        machine.haste = 1.0
        # Not well yet: of the answers that have been waiting and come all at once, one fails, and there is a gap.
        self.log.failing = _LIMPING if self.log.away else 0.0
        self._kafka_comes_back()
        self.log.cut = self.plan.detour
        self.exchange.failing = self.exchange.quiet = 0.0
        self.db.failing.clear()
        self.servers.redis.cut_off.clear()
        for name, process in list(self.running.items()):
            if process.frozen:
                machine.thaw(process)
            if not process.alive:
                self.log.group.expire(process)
                self._start(name)
        for _ in self._working():
            if self.chance() < 0.5:
                self.exchange.trade()
        for step in range(_CALM_STEPS):
            machine.step()
            if step == _LIMPING_STEPS:
                self.log.failing = 0.0
            if step == _DETOUR_STEPS:
                self._kafka_comes_back()
            if self.leaving:
                self._bury()
                for name, process in list(self.running.items()):
                    if not process.alive:
                        self._start(name)
            if step % 25 == 0:
                if step % 100 == 0:
                    self._place()
                if self._at_rest():
                    return
        raise Violation(f"it does not come to rest: {self._unrest()}")

    def _working(self) -> list[str]:
        return [order_id for order_id, held in self.exchange.book.items() if held.state == "working"]

    def _place(self) -> None:
        """The scheduler's round: whatever is nobody's, or on a node that is not there, goes to one that is."""
        for pid in self.portfolios:
            self.db.set(Portfolio, pid, desired_state="running")
        rows = self.db.table(Assignment).rows
        for pid in self.portfolios:
            if rows[pid]["node_id"] not in self.running or not self.running[rows[pid]["node_id"]].alive:
                target = NODES[int(self.chance() * 2)]
                self._act(lambda pid=pid, target=target: self._give(pid, target))  # type: ignore[misc]

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        assigned, checkpoints = self.db.table(Assignment).rows, self.db.table(Checkpoint).rows
        outbox, counters = self.db.table(OutboxMessage).rows, self.db.table(FeedbackCounter).rows
        if any(not row["published"] for row in outbox.values()):
            return "feedback is not told"
        if self.db.table(LogDebt).rows:
            return "the log is owed orders"
        for place, records in self.log.places.items():
            if place[0] == topics.ORDERS_SUBMISSION and self.log.group.committed.get(place, 0) < len(records):
                return "orders are not read"
        for order in self.db.table(Order).rows.values():
            held = self.exchange.book.get(order["order_id"])
            if order["state"] == "sending":
                return "an order is in doubt"
            if held is not None and (
                held.order.volume - held.remaining != order["filled_volume"]
                or (held.state != "working" and order["state"] in ("accepted", "partially_filled"))
            ):
                return "the broker's news are not booked"
        for pid in self.portfolios:
            owner = assigned[pid]["node_id"]
            process = self.running.get(owner)
            node = self.nodes.get(process.name) if process is not None else None
            processor = node._processors.get(pid) if node is not None else None
            if processor is None or not processor.running.is_set() or processor.epoch != assigned[pid]["epoch"]:
                return f"{pid[:4]} does not run on {owner or 'nobody'}"
            run = processor.runtime
            assert run is not None
            counter = counters.get(pid)
            if run.portfolio.pseq != (counter["pseq"] if counter else 0):
                return f"{pid[:4]} has not heard all feedback"
            if run.portfolio.unanswered():
                return f"{pid[:4]} waits for answers"
            if any(r["state"] == "pending" for r in self.db.table(Adjustment).rows.values()):
                return "a deposit is not booked"
            if run.config_version < self.db.table(Portfolio).rows[pid]["version"]:
                return f"{pid[:4]} runs an old configuration"
            for place in processor.positions:
                if (run.next_offset(place) or 0) < len(self.log.places[place]):
                    return f"{pid[:4]} has not read {place}"
            if run.dirty or run.intents or checkpoints[pid]["state"] != run.portfolio.snapshot():
                return f"{pid[:4]} is not saved"
        return ""

    def digest(self) -> str:
        """What it all came to: two runs with the same digest have been the same history."""
        rows = {model: self.db.table(model).rows for model in (Assignment, Checkpoint, Order, OutboxMessage)}
        facts = [
            self.hub.steps,
            self.hub.random.getrandbits(64),
            list(self.log.places.items()),
            [(k, r["node_id"], r["epoch"]) for k, r in sorted(rows[Assignment].items())],
            [(k, r["epoch"], r["state"], r["offsets"]) for k, r in sorted(rows[Checkpoint].items())],
            [(k, r["epoch"], r["state"], r["filled_volume"]) for k, r in sorted(rows[Order].items())],
            [(r["portfolio_id"], r["pseq"], r["message"]) for _, r in sorted(rows[OutboxMessage].items())],
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _act(self, work: Callable[[], object]) -> None:
        """The scheduler or the API does something to the database, in a process that may die of it."""

        def act() -> None:
            try:
                work()
            except DatabaseError as error:
                self.hub.note(f"the scheduler leaves it to the next round: {error}")

        self.started += 1
        process = self._process("scheduler", f"scheduler/{self.started}")
        self.hub.spawn(process, "round", act)

    def _wake(self, *names: str) -> None:
        for name in names:
            process = self.running.get(name)
            node = self.nodes.get(process.name) if process is not None and process.alive else None
            if node is not None and self.chance() < 0.7:
                node._reconciler.wake()

    def _any(self, *kinds: str) -> Process | None:
        kind = kinds[int(self.chance() * len(kinds))]
        found = [p for p in self.hub.processes if p.kind == kind and p.alive and p.tasks]
        return found[int(self.chance() * len(found))] if found else None

    def _portfolio(self) -> str:
        return self.portfolios[int(self.chance() * len(self.portfolios))]

    def _moment(self) -> Any:
        return MORNING + timedelta(seconds=self.hub.now)


__all__ = ["Cluster"]
