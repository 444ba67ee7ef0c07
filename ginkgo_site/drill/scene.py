"""One drill as it runs: the cluster, what it trades with, and how what was seen and timed is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.conf import settings

from ginkgo_site.drill import servers
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground
from ginkgo_site.drill.oracle import records
from ginkgo_site.drill.outcome import Timed
from ginkgo_site.drill.profiles import FAST
from ginkgo_site.drill.world import World
from market import topics
from market.messages import Alert
from market.models import Order
from scheduler import operations


class Move(NamedTuple):
    """A planned one that was accepted, in this epoch of its source."""

    portfolio_id: str
    source: str
    target: str
    epoch: int


@dataclass
class Scene:
    """`note` keeps what was done, for the report; `took` how long what has a limit took, in seconds. `injected` counts
    the failures of a drill that has many."""

    world: World
    ground: Ground
    feed: Feed
    every: int
    note: Callable[[str], None]
    timed: list[Timed] = field(default_factory=list)
    injected: int = 0

    def took(self, what: str, value: float, must: float, unit: str = "s") -> None:
        self.timed.append(Timed(what, round(value, 3), must, unit))
        self.note(f"{what}: {value:.1f} {unit} (must: {must:g})")

    @staticmethod
    def alerted(alert_type: str, since: datetime, *details: str) -> set[tuple[Any, ...]]:
        """Those details of all alerts of a type that were raised since then and published."""
        found = set()
        for message in records(topics.ALERTS):
            alert = msgspec.json.decode(message.value(), type=Alert)
            if alert.alert_type == alert_type and alert.timestamp >= since:
                found.add(tuple(alert.details.get(each) for each in details))
        return found

    def busiest(self) -> str:
        """The node that owns most of the drill's portfolios."""
        owners = list(self.ground.nodes().values())
        return max(self.world.nodes, key=owners.count)

    def taken_over(self, from_node: str, timeout: float = 120.0) -> float:
        """Wait until nothing is that node's any more and what was its own trades again: orders of a new epoch are
        taken in. The seconds that took.
        """
        begun = time.monotonic()
        theirs = [p for p, node in self.ground.nodes().items() if node == from_node]
        before = self.ground.epochs()

        def trades() -> bool:
            owners = self.ground.nodes()
            return all(
                owners[p] != from_node and Order.objects.filter(portfolio_id=p, epoch__gt=before[p]).exists()
                for p in theirs
            )

        self.world.until(trades, f"what was on {from_node} trades elsewhere", timeout)
        return time.monotonic() - begun

    def trades_on(self, ids: Iterable[str] | None = None, timeout: float = 120.0) -> float:
        """Wait until each of these (default: all) has an order that the engine did not have yet; the seconds."""
        wanted = list(ids if ids is not None else self.ground.codes)
        before: Mapping[str, int] = {}

        def more() -> bool:
            nonlocal before
            now = _orders(wanted)
            before = before or now
            return all(now[p] > before[p] for p in wanted)

        return self.world.until(more, "every portfolio trades", timeout)

    def move(self, portfolio_id: str) -> Move:
        """Ask for a planned move of it to another node, until it is accepted: the scheduler may just be moving it by
        itself. Raises DrillError if it is refused for good.
        """
        refused = ""
        while_s, begun = 60.0, time.monotonic()
        while time.monotonic() - begun < while_s:
            node, epoch = self.ground.owner(portfolio_id)
            nodes = self.world.nodes
            target = nodes[(nodes.index(node) + 1) % len(nodes)] if node in nodes else nodes[0]
            answer = operations.migrate(portfolio_id, target, node, issued_by="drill")
            if answer.accepted:
                return Move(portfolio_id, node, target, epoch)
            refused = answer.reason
            threading.Event().wait(0.2)
        raise DrillError(f"a move was refused for {while_s:g} s: {refused}")

    def moved(self, move: Move) -> float:
        """Wait until it is done; the seconds. Raises AssertionError if the next epoch is not the target's."""
        took = self.world.until(lambda: self.ground.owner(move.portfolio_id)[1] > move.epoch, f"moved to {move.target}")
        node, epoch = self.ground.owner(move.portfolio_id)
        if epoch == move.epoch + 1 and node != move.target:
            raise AssertionError(f"a portfolio was to move from {move.source} to {move.target}, and went to {node!r}")
        return took

    def nobody_was_failed_over(self, before: Mapping[str, int]) -> None:
        """Raises AssertionError if a portfolio has another epoch than `before`."""
        moved = [p for p, epoch in self.ground.epochs().items() if epoch != before[p]]
        if moved:
            raise AssertionError(f"{len(moved)} portfolios of living nodes were failed over")


@dataclass(frozen=True)
class Drill:
    """`kills`: servers that it kills; `needs_mysql`: there is nothing to show where the database is a file.

    `portfolios`, `rate` (ticks a second in all) and `every` (ticks of a code from one order to the next) are its load;
    with `slow`, one more portfolio waits at each event. `clocks_differ`: the times of what it produces say nothing.
    """

    what: str
    run: Callable[[Scene], None]
    kills: Collection[str] = ()
    needs_mysql: bool = False
    unfit: Callable[[], str] = lambda: ""
    profile: Mapping[str, str] = field(default_factory=lambda: FAST)
    portfolios: int = 4
    rate: float = 200.0
    every: int = 10
    slow: bool = False
    clocks_differ: bool = False

    def why_not(self, world: World) -> str:
        """Why it cannot be run on these servers; empty if it can."""
        if self.needs_mysql and settings.GINKGO.mysql.host is None:
            return "there is no MySQL here: the database is a file"
        for name in self.kills:
            if servers.pid(world.home, name) is None:
                return f"{name} is given, and not ours to kill (see {servers.KILLS})"
        return self.unfit()


def _orders(ids: Collection[str]) -> dict[str, int]:
    found = dict.fromkeys(ids, 0)
    for portfolio_id in Order.objects.filter(portfolio_id__in=ids).values_list("portfolio_id", flat=True):
        found[str(portfolio_id)] += 1
    return found
