"""A portfolio: a pure state machine over a log of prices and feedback (SPEC P4, P5).

`apply(event, cause)` returns the orders and cancels that the event gives rise to and changes nothing but the
portfolio: no I/O, no clock but the event's, no randomness. The flow of a price is: session → credible? → marked →
risk rules' own exits → strategy → the desk (conflicts, chatter, review, sizer, lots, cash) → orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

import msgspec

from portfolios.kernel import state as saved
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.component import RiskRule
from portfolios.kernel.config import PortfolioConfig
from portfolios.kernel.desk import Desk, Wish
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.journal import Journal
from portfolios.kernel.ledger import Ledger, OpenOrder
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.orders import Intent
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.signals import Decision, Exit, Signal
from portfolios.kernel.standing import LONG_AGO, Standing
from portfolios.kernel.team import Team
from portfolios.kernel.watch import Watch
from portfolios.kernel.watchlist import Watchlist

RETRY_AFTER = timedelta(seconds=60)
"""Event time to wait after a rejection before an order of the same code is sent again."""

_NO_EXITS: Mapping[str, Wish] = {}


class FeedbackGap(LookupError):
    """Feedback is missing: `expected` was next, `got` came. Nothing has been changed."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"feedback {expected} is missing: {got} came instead")
        self.expected = expected
        self.got = got


class Portfolio(Standing):
    """One portfolio. `portfolio_id` is a UUID, `initial_cash` in units of 0.0001 of the rules' currency."""

    __slots__ = (
        "_bar", "_decide", "_desk", "_end", "_journal", "_max_age", "_risks", "_start", "_team", "_watches", "config",
        "portfolio_id", "pseq",
    )  # fmt: skip

    def __init__(self, portfolio_id: str, config: PortfolioConfig, rules: MarketRules, initial_cash: int) -> None:
        self._build(portfolio_id, config, rules, Ledger(initial=initial_cash, cash=initial_cash))

    def _build(self, portfolio_id: str, config: PortfolioConfig, rules: MarketRules, ledger: Ledger) -> None:
        self.portfolio_id = portfolio_id
        self.config = config
        self.rules = rules
        self.pseq = 0
        self._ledger = ledger
        self._journal = Journal()
        self._now = LONG_AGO
        self._session = None
        self._start = self._end = LONG_AGO

        policy = config.policy
        self._bar = policy.bar
        self._max_age = None if policy.max_signal_age is None else timedelta(seconds=policy.max_signal_age)

        self._team = team = Team(config, self)
        self._decide = team.strategy.on_price
        self._risks = team.risks
        self._watchlist = Watchlist(config, rules, ledger, team)
        self._watches = self._watchlist.watches
        self._desk = Desk(
            portfolio_id, config, rules, ledger, self._watches, team.reviewers, team.sizer, self, self._journal
        )

    # What others ask, beside its standing --------------------------------------------------------------------------

    @property
    def warmup_bars(self) -> int:
        """How many prices (or bars, with `policy.bar`) of each code come from history on a start (SPEC P10)."""
        return self._team.warmup_bars

    @property
    def incarnation(self) -> int:
        """Which life of the log this is; part of the name of every order (SPEC N8)."""
        return self._desk.incarnation

    @incarnation.setter
    def incarnation(self, incarnation: int) -> None:
        self._desk.incarnation = incarnation

    def unanswered(self) -> list[Intent]:
        """Orders without any feedback and cancels whose order is not over, in the order of their decision."""
        return self._desk.unanswered()

    def cancel_unanswered(self, cause: Cause) -> list[Intent]:
        """Cancels, named after `cause`, for all orders without any feedback (after a user's stop, SPEC N7)."""
        return self._desk.cancel_unanswered(cause, self._now)

    def take_decisions(self) -> list[Decision]:
        """What was decided since the last call, and why; the newest thousand."""
        return self._journal.take()

    # What others do ------------------------------------------------------------------------------------------------

    def on_stop(self) -> None:
        self._team.on_stop()

    def adjust_cash(self, amount: int) -> None:
        """A deposit (positive) or withdrawal (negative) of units. ValueError if more is withdrawn than is free."""
        available = self.available_cash
        if amount < -available:
            raise ValueError(f"only {to_decimal(available)} {self.rules.currency} can be withdrawn")
        self._ledger.adjust_cash(amount)

    def adjust_position(self, code: str, volume: int, price: int) -> None:
        """A correction by hand: `volume` more (or, negative, less) of a code at `price` units; no cash moves.

        ValueError if it corrects nothing, or takes away what is promised to an open order.
        """
        ledger = self._books()
        held = ledger.positions.get(code)
        if volume == 0 or price <= 0:
            raise ValueError("a correction needs a volume and a price")
        if held is not None and held.frozen and abs(held.volume + volume) < held.frozen:
            raise ValueError(f"{held.frozen} of {code} are in open orders: cancel them first")
        rules = self.rules
        self._watchlist.hold(
            ledger.adjust_position(code, volume, price, rules.multiplier(code), rules.margin_rate(code))
        )

    def warm_up(self, tick: PriceUpdate) -> None:
        """Lets a strategy and a sizer that remember nothing of a code see its past: nothing is signalled or ordered.

        Prices in the order of their time, before the first event is applied; others than those of `cold` codes do
        nothing. A component that kept its memory over a reload is not told twice.
        """
        watch = self._watches.get(tick.code)
        if watch is None or not (watch.cold or watch.sizer_cold) or not tick.price > 0:
            return
        session = self.rules.session_at(tick.timestamp)
        if watch.past or not watch.day:
            # Never traded before: the past is where its limits come from.
            watch.past = True
            if watch.day != session.ordinal:
                watch.open_session(session, tick, self.rules)
            watch.price = tick.price
        for bar in (tick,) if watch.bar is None else watch.bar.add(tick, self._bar, session):
            ordinal = self.rules.session_at(bar.timestamp).ordinal
            begins, watch.warmed = ordinal != watch.warmed, ordinal
            if watch.bar is not None:
                watch.bar.day = ordinal
            self._team.warm_up(watch, bar, begins=begins)

    # Events --------------------------------------------------------------------------------------------------------

    def apply(self, event: PriceUpdate | Feedback, cause: Cause) -> list[Intent]:
        """What the event gives rise to. `cause` is where it stands in the log, the name of its orders.

        Feedback at or below `pseq` is a duplicate and does nothing; a gap raises FeedbackGap and changes nothing.
        """
        if event.__class__ is not PriceUpdate:
            assert isinstance(event, Feedback)
            return self._on_feedback(event)
        assert isinstance(event, PriceUpdate)
        watch = self._watches.get(event.code)
        if watch is None:
            return []
        price = event.price
        timestamp = event.timestamp
        if not (
            watch.calm_low < price < watch.calm_high
            and self._now <= timestamp < watch.until
            and ((prev_close := event.prev_close) == watch.prev_close or prev_close is None)
        ):
            return self._on_price(watch, event, cause)
        # A calm price of the session under way, which nearly all are: `_on_price` without what cannot happen.
        watch.price = price
        watch.raw = 0.0
        self._now = timestamp
        if watch.marked:
            watch.marked = False
            self._watchlist.unmarked.append(watch)
        signal = self._decide(watch.memory, event)
        return self._desk.act(event, cause, signal, _NO_EXITS) if signal else []

    def _on_price(self, watch: Watch, tick: PriceUpdate, cause: Cause) -> list[Intent]:
        """The whole flow of a price."""
        timestamp = tick.timestamp
        session = self._session
        if session is None or not self._start <= timestamp < self._end:
            session = self.rules.session_at(timestamp)
            self._enter(session)
        watch.until = session.end
        if watch.day != session.ordinal:
            watch.open_session(session, tick, self.rules)
            if self._team.session_hooks and watch.bar is None:
                self._team.open_session(watch, tick)
        elif (prev_close := tick.prev_close) is not None and prev_close != watch.prev_close:
            watch.limit(prev_close, session, self.rules)
        price = tick.price
        if not watch.low <= price <= watch.high:
            self._refuse(watch, tick)
            return []
        watch.price = price
        watch.raw = 0.0
        stale = False
        if timestamp > self._now:
            self._now = timestamp
        elif self._max_age is not None and self._now - timestamp > self._max_age:
            stale = True
        exits = _NO_EXITS if watch.position is None else self._exits(watch, tick, stale)
        said: Signal | Sequence[Signal] | None = None
        if watch.traded:
            for bar in (tick,) if watch.bar is None else self._bars(watch, watch.bar, tick, session):
                if self._team.sizer_hears:
                    self._team.sizer.on_price(watch.sizer_memory, bar)
                said = self._decide(watch.memory, bar) or said
        if said and stale:
            self._journal.note(watch, tick, "data", 0, "policy.max_signal_age", "a stale price raises no signal")
            said = None
        return self._desk.act(tick, cause, said, exits) if said or exits else []

    def _exits(self, watch: Watch, tick: PriceUpdate, stale: bool) -> Mapping[str, Wish]:
        """Marks a position at a new price; what the risk rules want to be left, by code."""
        position = watch.position
        assert position is not None
        units = int(tick.price * 10_000 + 0.5)
        self._ledger.mark(position, units)
        team = self._team
        if stale or (watch.floor < units < watch.ceiling and not team.value_rules):
            return _NO_EXITS
        exits: dict[str, Wish] = {}
        for rule in team.exit_rules:
            self._collect(exits, rule, rule.on_price(position, tick, self), watch.code)
        for rule in team.value_rules:
            self._collect(exits, rule, rule.on_value(self), watch.code)
        return exits

    def _collect(self, exits: dict[str, Wish], rule: RiskRule, wish: Exit | None, code: str) -> None:
        if wish is None:
            return
        codes = [code]
        if wish.everything:
            opening = (each.order.code for each in self._ledger.orders.values() if not each.closes)
            codes = list(dict.fromkeys([*self._ledger.positions, *opening]))
        for each in codes:
            exits.setdefault(each, Wish(type(rule).__name__, wish.reason))

    def _bars(self, watch: Watch, builder: BarBuilder, tick: PriceUpdate, session: Session) -> Iterable[PriceUpdate]:
        bars = builder.add(tick, self._bar, session)
        if self._team.session_hooks and bars:
            return self._opening_sessions(watch, builder, bars)
        return bars

    def _opening_sessions(self, watch: Watch, builder: BarBuilder, bars: list[PriceUpdate]) -> Iterator[PriceUpdate]:
        """The bars, the first of a session told as such: a session's last one may come with the next one's tick."""
        for bar in bars:
            ordinal = self.rules.session_at(bar.timestamp).ordinal
            if ordinal != builder.day:
                builder.day = ordinal
                self._team.open_session(watch, bar)
            yield bar

    def _refuse(self, watch: Watch, tick: PriceUpdate) -> None:
        if tick.price > 0:
            watch.raw = tick.price
            reason = f"{tick.price:g} is outside the price limits {watch.low:g} to {watch.high:g}"
        else:
            reason = f"{tick.price:g} is not a price"
        self._journal.note(watch, tick, "data", 0, "portfolio", reason)

    def _enter(self, session: Session) -> None:
        """Goes on to a later session; an earlier one (a partition that lags) changes nothing."""
        if self._session is not None and session.ordinal <= self._session.ordinal:
            return
        self._session = session
        self._start, self._end = session.start, session.end
        self._ledger.settle(session.ordinal)

    # Feedback ------------------------------------------------------------------------------------------------------

    def _on_feedback(self, feedback: Feedback) -> list[Intent]:
        if feedback.pseq <= self.pseq:
            return []
        if feedback.pseq != self.pseq + 1:
            raise FeedbackGap(self.pseq + 1, feedback.pseq)
        open_order = self._ledger.orders.get(feedback.order_id)
        if feedback.event_type in ("order_filled", "order_partially_filled"):
            self._on_fill(feedback, open_order)
        if open_order is not None:
            open_order.answered = True
            open_order.status = feedback.status
            if feedback.event_type in ("order_filled", "order_rejected", "order_cancelled"):
                self._finish(open_order, feedback)
        self.pseq = feedback.pseq
        return []

    def _on_fill(self, feedback: Feedback, open_order: OpenOrder | None) -> None:
        code, direction, volume = feedback.code, feedback.direction, feedback.filled_volume
        amount = feedback.filled_amount
        if (
            code is msgspec.UNSET
            or direction is msgspec.UNSET
            or volume is msgspec.UNSET
            or amount is msgspec.UNSET
            or volume <= 0
        ):
            raise ValueError(f"feedback {feedback.pseq} of order {feedback.order_id} is a fill without its figures")
        fees = sum(to_units(float(fee)) for fee in (feedback.commission, feedback.tax) if fee is not msgspec.UNSET)
        paid = to_units(float(amount))
        session = self.rules.session_at(feedback.timestamp)
        self._enter(session)
        locks = self.rules.t_plus > 0 and self._session is not None and session.ordinal >= self._session.ordinal
        ledger = self._books()
        position = ledger.fill(
            code,
            direction,
            volume,
            paid,
            fees,
            lock_day=session.ordinal if locks else None,
            multiplier=self.rules.multiplier(code),
            margin_rate=self.rules.margin_rate(code),
        )
        if open_order is not None:
            ledger.progress(open_order, volume, paid + fees)
        self._watchlist.hold(position)

    def _finish(self, open_order: OpenOrder, feedback: Feedback) -> None:
        order = open_order.order
        self._ledger.close(open_order)
        self._desk.over(order.order_id)
        watch = self._watches[order.code]
        if feedback.event_type == "order_rejected":
            reason = str(feedback.reason) if feedback.reason is not msgspec.UNSET else "rejected"
            watch.retry = feedback.timestamp + RETRY_AFTER
            self._journal.add(
                Decision(feedback.timestamp, "veto", order.code, order.direction, "engine", reason, 0, order.order_id)
            )
        self._watchlist.forget(watch)

    # Snapshots -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state as JSON; deterministic: `restore`, then the same events, gives the same bytes."""
        return saved.encode(
            {
                "v": saved.SNAPSHOT_VERSION,
                "incarnation": self._desk.incarnation,
                "pseq": self.pseq,
                "decided": self._desk.decided,
                "now": None if self._now is LONG_AGO else self._now,
                "day": self._session.ordinal if self._session is not None else 0,
                "ledger": self._books(),
                "cancels": list(self._desk.cancels.values()),
                "components": self._team.states(),
                "watches": [watch.row() for watch in self._watches.values()],
            }
        )

    @classmethod
    def restore(cls, state: bytes, portfolio_id: str, config: PortfolioConfig, rules: MarketRules) -> Portfolio:
        """The portfolio as it was at `snapshot()`.

        Under another config than the snapshot's the ledger, orders and prices stay; a component whose name or
        parameters differ starts with a fresh state, one that is the same keeps its own. msgspec.MsgspecError
        for bytes that are no snapshot.
        """
        was = saved.decode(state)
        if was.v != saved.SNAPSHOT_VERSION:
            raise msgspec.ValidationError(f"snapshot version {was.v} is not {saved.SNAPSHOT_VERSION}")
        portfolio = cls.__new__(cls)
        portfolio._build(portfolio_id, config, rules, was.ledger)
        portfolio._resume(was)
        return portfolio

    def reconfigured(self, config: PortfolioConfig) -> Portfolio:
        """The same portfolio under another config (SPEC N5): see `restore`. This one stays as it is."""
        return Portfolio.restore(self.snapshot(), self.portfolio_id, config, self.rules)

    def _resume(self, was: saved.PortfolioState) -> None:
        self.pseq = was.pseq
        self._desk.incarnation, self._desk.decided = was.incarnation, was.decided
        self._desk.cancels = {each.cancel.cancel_id: each for each in was.cancels}
        self._now = was.now if was.now is not None else LONG_AGO
        if was.day:
            self._enter(self.rules.session_on(date.fromordinal(was.day)))
        self._watchlist.resume(was.watches, was.components)
