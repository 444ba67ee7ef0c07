"""The broker of the simulation: outside of all processes, it keeps its own book and counts what it is given.

It may fail before or after it has done what was asked, fills orders in parts and when it likes, refuses some, and does
not always tell that there is news. It answers questions truthfully: that is all the engine may rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from market import topics
from market.brokers.port import BrokerUnavailable, Execution, Holdings, Report, State, Ticket
from market.pretrade import Quote
from portfolios.kernel.money import UNIT
from portfolios.kernel.orders import Order
from tests.protocol.hub import Process, Task, hub
from tests.protocol.kafka import Log

MORNING = datetime(2024, 3, 5, 2, 0, tzinfo=UTC)


@dataclass
class Held:
    order: Order
    state: State = "working"
    submissions: int = 1
    executions: list[Execution] = field(default_factory=list)
    ended_at: datetime | None = None
    reason: str = ""
    seen: str = ""
    """The price that made its last news, by its place in the log."""

    @property
    def remaining(self) -> int:
        return self.order.volume - sum(each.volume for each in self.executions)

    def report(self) -> Report:
        return Report(self.order.order_id, self.state, self.reason, self.ended_at, tuple(self.executions), self.seen)


class Exchange:
    """`heard` is told of each order that arrives, the repeated ones too."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.book: dict[str, Held] = {}
        self.connections: list[Connection] = []
        self.heard: Callable[[Process, Held], None] = lambda *_: None
        self.failing = 0.0
        self.quiet = 0.0
        """The share of news that nobody is told of."""

    def receive(self, process: Process, order: Order) -> Held:
        held = self.book.get(order.order_id)
        if held is None:
            held = self.book[order.order_id] = Held(order)
            if hub().chance() < 0.06:
                held.state, held.reason, held.ended_at = "rejected", "refused", order.timestamp
        else:
            held.submissions += 1
        self.heard(process, held)
        return held

    def trade(self) -> bool:
        """One working order gets a fill, whole or in part, or its session ends; whether there was one."""
        working = [held for held in self.book.values() if held.state == "working"]
        if not working:
            return False
        held = working[int(hub().chance() * len(working))]
        order, number = held.order, len(held.executions) + 1
        at = order.timestamp + timedelta(seconds=number)
        if hub().chance() < 0.1:
            held.state, held.reason, held.ended_at = "cancelled", "expired", at
        else:
            volume = held.remaining if hub().chance() < 0.6 or held.remaining <= 100 else 100
            price = 10 * UNIT + number * 100
            held.executions.append(
                Execution(f"{order.order_id[:8]}-{number}", volume, price, price * volume, 5 * UNIT, 100 * number, at)
            )
            if held.remaining == 0:
                held.state = "filled"
        topic, partition = topics.MARKET_DATA["cn"], int(hub().chance() * 2)
        if records := self._log.places[topic, partition]:
            held.seen = f"{topic}:{partition}:{int(hub().chance() * len(records))}"
        self._tell(order.order_id)
        return True

    def cancel(self, order_id: str, at: datetime, reason: str) -> Report | None:
        held = self.book.get(order_id)
        if held is None:
            return None
        if held.state == "working":
            held.state, held.reason, held.ended_at = "cancelled", reason, at
            self._tell(order_id)
        return held.report()

    def _tell(self, order_id: str) -> None:
        if hub().chance() < self.quiet:
            return
        for connection in self.connections:
            if order_id in connection.followed:
                connection.changed.add(order_id)
                hub().wake(connection.waiting)


class Connection:
    """One engine's connection: `market.brokers.port.Broker`."""

    name = "simulation"
    follows_the_log = True

    def __init__(self, exchange: Exchange, process: Process) -> None:
        self._exchange = exchange
        self._process = process
        self.followed: set[str] = set()
        self.changed: set[str] = set()
        self.waiting: list[Task] = []
        exchange.connections.append(self)
        process.ends.append(lambda: exchange.connections.remove(self))

    def submit(self, tickets: Sequence[Ticket]) -> list[Report]:
        self._before()
        reports = []
        for ticket in tickets:
            self.followed.add(ticket.order.order_id)
            reports.append(self._exchange.receive(self._process, ticket.order).report())
        self._after()
        return reports

    def cancel(self, order_id: str, at: datetime, reason: str, cause: str = "") -> Report | None:
        self._before()
        report = self._exchange.cancel(order_id, at, reason)
        self._after()
        return report

    def query(self, order_ids: Sequence[str]) -> dict[str, Report]:
        self._before()
        book = self._exchange.book
        found = {each: book[each].report() for each in order_ids if each in book}
        self._after()
        return found

    def follow(self, order_ids: Iterable[str]) -> None:
        self.followed |= set(order_ids)

    def unfollow(self, order_ids: Iterable[str]) -> None:
        self.followed -= set(order_ids)

    def news(self, timeout: float) -> set[str]:
        if not self.changed and timeout:
            hub().wait(self.waiting, timeout)
        changed, self.changed = self.changed, set()
        return changed

    def holdings(self, portfolio_ids: Sequence[str]) -> Holdings:
        raise NotImplementedError

    def quote(self, code: str) -> Quote | None:
        return None

    def moment(self, code: str) -> datetime | None:
        return None

    def start(self) -> None:
        pass

    def stop(self, timeout: float) -> None:
        pass

    def dead_thread(self) -> str | None:
        return None

    def _before(self) -> None:
        hub().pause()
        if self._exchange.failing and hub().chance() < self._exchange.failing:
            raise BrokerUnavailable("it does not answer")

    def _after(self) -> None:
        hub().pause()
        if self._exchange.failing and hub().chance() < self._exchange.failing:
            raise BrokerUnavailable("its answer was lost")
