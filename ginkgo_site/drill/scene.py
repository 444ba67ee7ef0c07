"""One drill as it runs: the cluster, what it trades with, and how what was seen and timed is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from django.conf import settings

from ginkgo_site.drill import servers
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground
from ginkgo_site.drill.outcome import Timed
from ginkgo_site.drill.profiles import FAST
from ginkgo_site.drill.world import World
from market.models import Order


@dataclass
class Scene:
    """`note` keeps what was done, for the report; `took` how long what has a limit took, in seconds."""

    world: World
    ground: Ground
    feed: Feed
    every: int
    note: Callable[[str], None]
    timed: list[Timed] = field(default_factory=list)

    def took(self, what: str, value: float, must: float, unit: str = "s") -> None:
        self.timed.append(Timed(what, round(value, 3), must, unit))
        self.note(f"{what}: {value:.1f} {unit} (must: {must:g})")

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
