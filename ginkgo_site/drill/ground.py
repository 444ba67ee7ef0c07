"""What a drill trades with: portfolios of its own, and the wait until they run, or until all is said and answered."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

import msgspec

from ginkgo_site.drill import tally
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.world import World
from market.models import LogDebt
from portfolios import checkpoints, services
from portfolios.kernel import state as saved
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import Status

INITIAL_CASH = Decimal(10_000_000)
_CODES_EACH = 3


class Witness(msgspec.Struct):
    """One portfolio's state as its last checkpoint has it."""

    portfolio_id: str
    decided: int
    open_orders: int
    tallies: dict[str, tally.TallyStrategy.Memory]


class Ground:
    """`codes` by portfolio id; no two drills share any."""

    _used = 0

    def __init__(self, portfolios: int, every: int, slow: bool = False) -> None:
        """`every`: ticks of a code from one order to the next. `slow`: one more portfolio, of more codes, waits."""
        self.codes: dict[str, tuple[str, ...]] = {}
        self.every: dict[str, int] = {}
        """By code: ticks from one order to the next."""
        for number in range(portfolios):
            self._create(_CODES_EACH, every, straight=bool(number % 2))
        # What it is told is little: it orders the more often.
        self.slow = self._create(2 * _CODES_EACH, max(2, every // 4), tally.SLOW, straight=True) if slow else ""

    def _create(self, codes: int, every: int, strategy: str = tally.NAME, straight: bool = False) -> str:
        mine = tuple(self._new_code() for _ in range(codes))
        settings = config(mine, every, strategy, straight=straight)
        made = services.create(f"drill {mine[0]}", None, "us", INITIAL_CASH, settings, running=True)
        self.codes[str(made.id)] = mine
        self.every |= dict.fromkeys(mine, every)
        return str(made.id)

    @classmethod
    def _new_code(cls) -> str:
        cls._used += 1
        return f"D{cls._used}.US"

    def await_running(self, ids: Collection[str] | None = None, timeout: float = 120.0) -> float:
        wanted = list(ids if ids is not None else self.codes)

        def running() -> bool:
            return Portfolio.objects.filter(id__in=wanted, status=Status.RUNNING).count() == len(wanted)

        return World.until(running, f"{len(wanted)} portfolios run", timeout)

    def nodes(self) -> dict[str, str]:
        """Portfolio id → the node that owns it."""
        return {str(a.portfolio_id): a.node_id for a in Assignment.objects.filter(portfolio_id__in=self.codes)}

    @staticmethod
    def owner(portfolio_id: str) -> tuple[str, int]:
        """Node and epoch, as of one moment."""
        return Assignment.objects.values_list("node_id", "epoch").get(portfolio_id=portfolio_id)

    def epochs(self) -> dict[str, int]:
        return {str(a.portfolio_id): a.epoch for a in Assignment.objects.filter(portfolio_id__in=self.codes)}

    def retire(self) -> None:
        """They are not wanted any more."""
        for portfolio_id in self.codes:
            services.stop(portfolio_id)
        World.until(
            lambda: not Assignment.objects.filter(portfolio_id__in=self.codes).exclude(node_id="").exists(),
            "the drill's portfolios have stopped",
        )

    def settle(self, feed: Feed, timeout: float = 180.0) -> list[Witness]:
        """Wait until every checkpoint knows the newest tick and no order is open; what they then say.

        What is still missing after `timeout` seconds is what the oracle is there to find.
        """

        def settled() -> bool:
            return not LogDebt.objects.filter(portfolio_id__in=self.codes).exists() and all(
                not w.open_orders and all(w.tallies[c].newest == feed.sent[c] for c in self.codes[w.portfolio_id])
                for w in self.witnesses()
            )

        try:
            World.until(settled, "all is said and answered", timeout)
        except DrillError:
            return self.witnesses()
        return self.witnesses()

    def witnesses(self) -> list[Witness]:
        return [self._witness(portfolio_id) for portfolio_id in self.codes]

    def _witness(self, portfolio_id: str) -> Witness:
        loaded = checkpoints.load(portfolio_id)
        empty = {code: tally.TallyStrategy.Memory() for code in self.codes[portfolio_id]}
        if loaded is None or not loaded.state:
            return Witness(portfolio_id, 0, 0, empty)
        was = saved.decode(loaded.state)
        memories = {
            row.code: msgspec.json.decode(row.memory, type=tally.TallyStrategy.Memory)
            for row in was.watches
            if row.code in empty
        }
        return Witness(portfolio_id, was.decided, len(was.ledger.orders), {**empty, **memories})


def config(
    codes: Collection[str], every: int, strategy: str = tally.NAME, amount: int = 10_000, straight: bool = False
) -> dict[str, Any]:
    """Under another `amount` it is another configuration, under which the strategy remembers what it has counted.

    `straight`: while Kafka is away all its orders go straight to the engine, else only those that reduce a position.
    """
    return {
        "strategy": {"name": strategy, "params": {"every": every}},
        "risk_managements": [],
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": amount}},
        "codes": list(codes),
        "policy": {"degraded_send": "all" if straight else "exits"},
    }
