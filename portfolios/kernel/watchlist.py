"""The codes that a portfolio follows: those it trades, and whatever it still holds or has ordered beside them."""

from __future__ import annotations

from collections.abc import Sequence

from portfolios.kernel import state as saved
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.config import PortfolioConfig
from portfolios.kernel.ledger import Ledger, Position
from portfolios.kernel.money import to_units
from portfolios.kernel.rules.base import MarketRules
from portfolios.kernel.team import Team
from portfolios.kernel.watch import Watch


class Watchlist:
    """`watches` by code, and which of them have a price that the books do not stand at yet."""

    __slots__ = ("_bar", "_ledger", "_plain", "_rules", "_special", "_team", "unmarked", "watches")

    def __init__(self, config: PortfolioConfig, rules: MarketRules, ledger: Ledger, team: Team) -> None:
        self._rules = rules
        self._ledger = ledger
        self._team = team
        self._bar = config.policy.bar
        self._special = frozenset(config.policy.st)
        self._plain = self._bar == "tick" and not team.sizer_hears
        self.unmarked: list[Watch] = []
        """Held, with a price newer than the position's: `mark` brings the books up to date when somebody looks."""
        self.watches = {code: self._add(code, traded=True) for code in config.codes}

    def _add(self, code: str, *, traded: bool) -> Watch:
        special, valued = code in self._special, bool(self._team.value_rules)
        watch = Watch(code, st=special, traded=traded, plain=traded and self._plain, valued=valued)
        if traded:
            self._team.start(watch)
            watch.bar = BarBuilder() if self._bar != "tick" else None
        return watch

    def held(self, code: str) -> Watch:
        """The watch of a code that is held or ordered, be it configured or not."""
        watch = self.watches.get(code)
        if watch is None:
            watch = self.watches[code] = self._add(code, traded=False)
        return watch

    def hold(self, position: Position) -> None:
        """A position has changed: the watch knows it while it is open, and it stands at the last price."""
        watch = self.held(position.code)
        if position.volume:
            watch.follow(position, *self._team.bounds(position))
            if watch.price > 0:
                self._ledger.mark(position, to_units(watch.price))
        else:
            watch.follow(None)
            self.forget(watch)

    def forget(self, watch: Watch) -> None:
        """A code that is neither configured nor held nor ordered any more is not watched any more."""
        if watch.traded or watch.position is not None:
            return
        if not any(each.order.code == watch.code for each in self._ledger.orders.values()):
            self.watches.pop(watch.code, None)

    def mark(self) -> None:
        """Brings the books to the last prices."""
        for watch in self.unmarked:
            position = watch.position
            if position is not None:
                self._ledger.mark(position, int(watch.price * 10_000 + 0.5))
                watch.marked = True
        self.unmarked.clear()

    def resume(self, rows: Sequence[saved.WatchState], components: saved.Components) -> None:
        """Takes over what a snapshot kept of codes and components. The ledger is the snapshot's already."""
        strategy, sizer = self._team.resume(components)
        needed = {*self._ledger.positions, *(each.order.code for each in self._ledger.orders.values())}
        for row in rows:
            watch = self.held(row.code) if row.code in needed else self.watches.get(row.code)
            if watch is None:
                continue
            watch.resume(row, self._rules)
            if watch.traded and row.day:
                self._team.resume_memories(watch, row, strategy=strategy, sizer=sizer)
                if components.bar == self._bar and row.bar is not None:
                    watch.bar = row.bar
        for code, position in self._ledger.positions.items():
            self.held(code).follow(position, *self._team.bounds(position))
