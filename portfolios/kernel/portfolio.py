"""A portfolio: a pure state machine over a log of prices and feedback (SPEC P4, P5).

`apply(event, cause)` returns the orders and cancels that the event gives rise to and changes nothing but the
portfolio: no I/O, no clock but the event's, no randomness. The flow of a price is: session → credible? → marked →
risk rules' own exits → strategy → the desk (conflicts, chatter, review, sizer, lots, cash) → orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from portfolios.kernel import state as saved
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.component import NEVER, RiskRule, Sizer, Strategy
from portfolios.kernel.config import ComponentConfig, PortfolioConfig
from portfolios.kernel.desk import Desk, Wish
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.journal import Journal
from portfolios.kernel.ledger import Ledger, OpenOrder, Position
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.orders import Intent
from portfolios.kernel.registry import find
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.signals import Decision, Exit, Signal
from portfolios.kernel.watch import Watch

RETRY_AFTER = timedelta(seconds=60)
"""Event time to wait after a rejection before an order of the same code is sent again."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class FeedbackGap(LookupError):
    """Feedback is missing: `expected` was next, `got` came. Nothing has been changed."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"feedback {expected} is missing: {got} came instead")
        self.expected = expected
        self.got = got


class Portfolio:
    """One portfolio. `portfolio_id` is a UUID, `initial_cash` in units of 0.0001 of the rules' currency."""

    __slots__ = (
        "_bar", "_decide", "_desk", "_end", "_exit_rules", "_journal", "_ledger", "_max_age", "_now", "_plain",
        "_risks", "_session", "_session_hooks", "_sizer", "_sizer_hears", "_start", "_strategy", "_value_rules",
        "_watches", "config", "portfolio_id", "pseq", "rules",
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
        self._now = _LONG_AGO
        self._session: Session | None = None
        self._start = self._end = _LONG_AGO

        policy = config.policy
        self._bar = policy.bar
        self._max_age = None if policy.max_signal_age is None else timedelta(seconds=policy.max_signal_age)

        strategy: Strategy = _make(config.strategy, "strategy")
        sizer: Sizer = _make(config.sizer, "sizer")
        strategy.view = self
        self._strategy = strategy
        self._sizer = sizer
        self._risks: list[RiskRule] = [_make(risk, "risk") for risk in config.risk_managements]
        self._decide = strategy.on_price
        # Only those who listen are called: a hook that a component leaves alone costs nothing.
        self._exit_rules = [risk for risk in self._risks if _overrides(risk, RiskRule, "on_price")]
        self._value_rules = [risk for risk in self._risks if _overrides(risk, RiskRule, "on_value")]
        self._sizer_hears = _overrides(sizer, Sizer, "on_price")
        self._plain = self._bar == "tick" and not self._sizer_hears
        self._session_hooks = _overrides(strategy, Strategy, "on_session") or _overrides(sizer, Sizer, "on_session")

        special = frozenset(policy.st)
        self._watches = {code: self._watch(code, code in special, traded=True) for code in config.codes}
        reviewers = [risk for risk in self._risks if _overrides(risk, RiskRule, "review")]
        self._desk = Desk(portfolio_id, config, rules, ledger, self._watches, reviewers, sizer, self, self._journal)

    # What others ask -----------------------------------------------------------------------------------------------

    @property
    def codes(self) -> frozenset[str]:
        """What the portfolio must hear of: its configured codes and whatever it still holds or has ordered."""
        return frozenset(self._watches)

    @property
    def warmup_bars(self) -> int:
        """How many prices (or bars, with `policy.bar`) of each code come from history on a start (SPEC P10)."""
        return max(self._strategy.warmup_bars, self._sizer.warmup_bars)

    @property
    def incarnation(self) -> int:
        """Which life of the log this is; part of the name of every order (SPEC N8)."""
        return self._desk.incarnation

    @incarnation.setter
    def incarnation(self, incarnation: int) -> None:
        self._desk.incarnation = incarnation

    @property
    def cash(self) -> int:
        """All cash in units, what open orders hold back included."""
        return self._ledger.cash

    @property
    def frozen(self) -> int:
        """Cash in units that open orders hold back."""
        return self._ledger.frozen

    @property
    def margin(self) -> int:
        """Margin in units that futures positions hold."""
        return self._ledger.margin

    @property
    def available_cash(self) -> int:
        return self._ledger.available

    @property
    def initial_cash(self) -> int:
        """What profit is measured from: the first cash, deposits, less withdrawals."""
        return self._ledger.initial

    @property
    def total_value(self) -> int:
        """Cash and positions at their last prices, in units."""
        return self._ledger.total_value

    @property
    def positions(self) -> Mapping[str, Position]:
        return self._ledger.positions

    @property
    def realised(self) -> int:
        return self._ledger.realised

    @property
    def unrealised(self) -> int:
        return self._ledger.unrealised

    @property
    def fees(self) -> int:
        """All fees paid so far, in units."""
        return self._ledger.fees

    @property
    def day(self) -> date:
        """The trading day that the newest price belongs to (1970-01-01 before the first)."""
        return self._session.day if self._session is not None else _LONG_AGO.date()

    @property
    def now(self) -> datetime:
        """The newest event time (1970 before the first event)."""
        return self._now

    def price_of(self, code: str) -> int:
        """The last good price of a code in units, 0 before the first."""
        watch = self._watches.get(code)
        return to_units(watch.price) if watch is not None else 0

    def committed(self, code: str | None = None) -> int:
        """Value in units of the positions in a code (None: in all), opening orders included."""
        positions = self._ledger.positions
        if code is None:
            return sum(abs(each.notional) for each in positions.values()) + self._ledger.frozen
        held = abs(positions[code].notional) if code in positions else 0
        return held + sum(each.frozen for each in self._ledger.orders.values() if each.order.code == code)

    def open_orders(self) -> list[OpenOrder]:
        """Orders that are not over, in the order of their decision."""
        return list(self._ledger.orders.values())

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
        for component in (self._strategy, *self._risks, self._sizer):
            component.on_stop()

    def adjust_cash(self, amount: int) -> None:
        """A deposit (positive) or withdrawal (negative) of units. ValueError if more is withdrawn than is free."""
        if amount < -self._ledger.available:
            raise ValueError(f"only {to_decimal(self._ledger.available)} {self.rules.currency} can be withdrawn")
        self._ledger.adjust_cash(amount)

    def adjust_position(self, code: str, volume: int, price: int) -> None:
        """A correction by hand: `volume` more (or, negative, less) of a code at `price` units; no cash moves.

        ValueError if it corrects nothing, or takes away what is promised to an open order.
        """
        held = self._ledger.positions.get(code)
        if volume == 0 or price <= 0:
            raise ValueError("a correction needs a volume and a price")
        if held is not None and held.frozen and abs(held.volume + volume) < held.frozen:
            raise ValueError(f"{held.frozen} of {code} are in open orders: cancel them first")
        position = self._ledger.adjust_position(
            code, volume, price, self.rules.multiplier(code), self.rules.margin_rate(code)
        )
        self._hold(self._watches.get(code) or self._watch_held(code), position)

    @property
    def cold(self) -> frozenset[str]:
        """Codes of which the strategy or the sizer remembers nothing: what `warm_up` is for."""
        return frozenset(code for code, watch in self._watches.items() if watch.cold or watch.sizer_cold)

    def warm_up(self, tick: PriceUpdate) -> None:
        """Lets a strategy and a sizer that remember nothing of a code see its past: nothing is signalled or ordered.

        Prices in the order of their time, before the first event is applied; others than those of `cold` codes do
        nothing. A component that kept its memory over a reload is not told twice.
        """
        watch = self._watches.get(tick.code)
        if watch is None or not (watch.cold or watch.sizer_cold) or not tick.price > 0:
            return
        session = self.rules.session_at(tick.timestamp)
        if tick.timestamp > self._now:
            # Never traded before: the past is where its limits come from.
            if watch.day != session.ordinal:
                watch.open_session(session, tick, self.rules)
            watch.price = tick.price
        for bar in (tick,) if watch.bar is None else watch.bar.add(tick, self._bar, session):
            self._warm(watch, bar)

    def _warm(self, watch: Watch, bar: PriceUpdate) -> None:
        ordinal = self.rules.session_at(bar.timestamp).ordinal
        begins, watch.warmed = ordinal != watch.warmed, ordinal
        if watch.bar is not None:
            watch.bar.day = ordinal
        if watch.sizer_cold:
            if begins:
                self._sizer.on_session(watch.sizer_memory, bar)
            self._sizer.on_price(watch.sizer_memory, bar)
        if watch.cold:
            if begins:
                self._strategy.on_session(watch.memory, bar)
            self._strategy.on_price(watch.memory, bar)

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
        timestamp = event.timestamp
        session = self._session
        if session is None or not self._start <= timestamp < self._end:
            session = self.rules.session_at(timestamp)
            self._enter(session)
        if watch.day != session.ordinal:
            watch.open_session(session, event, self.rules)
            if self._session_hooks and watch.bar is None:
                self._open_session(watch, event)
        elif (prev_close := event.prev_close) is not None and prev_close != watch.prev_close:
            watch.limit(prev_close, session, self.rules)
        price = event.price
        if not watch.low <= price <= watch.high:
            self._refuse(watch, event)
            return []
        watch.price = price
        watch.raw = 0.0
        stale = False
        if timestamp > self._now:
            self._now = timestamp
        elif self._max_age is not None and self._now - timestamp > self._max_age:
            stale = True
        position = watch.position
        if position is not None:
            units = int(price * 10_000 + 0.5)
            self._ledger.mark(position, units)
            if self._value_rules or not watch.floor < units < watch.ceiling:
                return self._on_price(watch, event, cause, session, position, stale)
        if stale or not self._plain or not watch.traded:
            return self._on_price(watch, event, cause, session, None, stale)
        signal = self._decide(watch.memory, event)
        if not signal:
            return []
        return self._desk.act(event, cause, signal, {})

    def _on_price(
        self,
        watch: Watch,
        tick: PriceUpdate,
        cause: Cause,
        session: Session,
        position: Position | None,
        stale: bool,
    ) -> list[Intent]:
        """The whole flow of a good price, with its `position` if risk rules are to be asked about it; `apply` takes
        short cuts where nothing of it can happen."""
        exits: dict[str, Wish] = {}
        if position is not None and not stale:
            for rule in self._exit_rules:
                self._collect(exits, rule, rule.on_price(position, tick, self), watch.code)
            for rule in self._value_rules:
                self._collect(exits, rule, rule.on_value(self), watch.code)
        said: Signal | Sequence[Signal] | None = None
        if watch.traded:
            for bar in self._bars(watch, tick, session):
                if self._sizer_hears:
                    self._sizer.on_price(watch.sizer_memory, bar)
                said = self._decide(watch.memory, bar) or said
        if said and stale:
            self._journal.note(watch, tick, "data", 0, "policy.max_signal_age", "a stale price raises no signal")
            said = None
        if not said and not exits:
            return []
        return self._desk.act(tick, cause, said, exits)

    def _bars(self, watch: Watch, tick: PriceUpdate, session: Session) -> Iterable[PriceUpdate]:
        builder = watch.bar
        if builder is None:
            return (tick,)
        bars = builder.add(tick, self._bar, session)
        if self._session_hooks and bars:
            return self._opening_sessions(watch, builder, bars)
        return bars

    def _opening_sessions(self, watch: Watch, builder: BarBuilder, bars: list[PriceUpdate]) -> Iterator[PriceUpdate]:
        """The bars, the first of a session told as such: a session's last one may come with the next one's tick."""
        for bar in bars:
            ordinal = self.rules.session_at(bar.timestamp).ordinal
            if ordinal != builder.day:
                builder.day = ordinal
                self._open_session(watch, bar)
            yield bar

    def _collect(self, exits: dict[str, Wish], rule: RiskRule, wish: Exit | None, code: str) -> None:
        if wish is None:
            return
        codes = [code]
        if wish.everything:
            opening = (each.order.code for each in self._ledger.orders.values() if not each.closes)
            codes = list(dict.fromkeys([*self._ledger.positions, *opening]))
        for each in codes:
            exits.setdefault(each, Wish(type(rule).__name__, wish.reason))

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

    def _open_session(self, watch: Watch, tick: PriceUpdate) -> None:
        if watch.traded:
            self._strategy.on_session(watch.memory, tick)
            self._sizer.on_session(watch.sizer_memory, tick)

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
        position = self._ledger.fill(
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
            self._ledger.progress(open_order, volume, paid + fees)
        self._hold(self._watches.get(code) or self._watch_held(code), position)

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
        self._forget(watch)

    def _hold(self, watch: Watch, position: Position) -> None:
        """A position has changed: the watch knows it while it is open, and it stands at the last price."""
        if position.volume:
            self._watch_position(watch, position)
            if watch.price > 0:
                self._ledger.mark(position, to_units(watch.price))
        else:
            watch.position = None
            self._forget(watch)

    # Watches -------------------------------------------------------------------------------------------------------

    def _watch(self, code: str, st: bool, *, traded: bool) -> Watch:
        watch = Watch(code, st=st, traded=traded)
        if traded:
            watch.memory = self._strategy.start()
            watch.sizer_memory = self._sizer.start()
            watch.bar = BarBuilder() if self._bar != "tick" else None
            watch.cold, watch.sizer_cold = self._strategy.Memory is not None, self._sizer.Memory is not None
        return watch

    def _watch_held(self, code: str) -> Watch:
        """A code that is held or ordered without being configured."""
        watch = self._watches[code] = self._watch(code, code in self.config.policy.st, traded=False)
        return watch

    def _watch_position(self, watch: Watch, position: Position) -> None:
        watch.position = position
        watch.floor, watch.ceiling = 0, NEVER
        for rule in self._exit_rules:
            bounds = rule.bounds(position)
            if bounds is None:
                watch.floor = NEVER
                return
            watch.floor, watch.ceiling = max(watch.floor, bounds[0]), min(watch.ceiling, bounds[1])

    def _forget(self, watch: Watch) -> None:
        """A code that is neither configured nor held nor ordered any more is not watched any more."""
        if watch.traded or watch.position is not None:
            return
        if not any(each.order.code == watch.code for each in self._ledger.orders.values()):
            self._watches.pop(watch.code, None)

    # Snapshots -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state as JSON; deterministic: `restore`, then the same events, gives the same bytes."""
        config = self.config
        return saved.encode(
            {
                "v": saved.SNAPSHOT_VERSION,
                "incarnation": self._desk.incarnation,
                "pseq": self.pseq,
                "decided": self._desk.decided,
                "now": None if self._now is _LONG_AGO else self._now,
                "day": self._session.ordinal if self._session is not None else 0,
                "ledger": self._ledger,
                "cancels": list(self._desk.cancels.values()),
                "components": {
                    "strategy": (config.strategy.name, config.strategy.params, self._strategy.state),
                    "sizer": (config.sizer.name, config.sizer.params, self._sizer.state),
                    "risks": [
                        (risk.name, risk.params, made.state)
                        for risk, made in zip(config.risk_managements, self._risks, strict=True)
                    ],
                    "bar": self._bar,
                },
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
        self._now = was.now if was.now is not None else _LONG_AGO
        if was.day:
            self._enter(self.rules.session_on(date.fromordinal(was.day)))
        components = was.components
        same_bar = components.bar == self._bar
        same_strategy = same_bar and _carry_over(self._strategy, self.config.strategy, [components.strategy])
        same_sizer = same_bar and _carry_over(self._sizer, self.config.sizer, [components.sizer])
        for risk, made in zip(self.config.risk_managements, self._risks, strict=True):
            _carry_over(made, risk, components.risks)
        needed = {*self._ledger.positions, *(each.order.code for each in self._ledger.orders.values())}
        for row in was.watches:
            watch = self._watches.get(row.code)
            if watch is None and row.code in needed:
                watch = self._watch_held(row.code)
            if watch is not None:
                watch.resume(row, self.rules)
                if watch.traded and row.day:
                    if same_strategy:
                        watch.memory = _memory(self._strategy, row.memory)
                        watch.cold = False
                    if same_sizer:
                        watch.sizer_memory = _memory(self._sizer, row.sizer_memory)
                        watch.sizer_cold = False
                    if same_bar and row.bar is not None:
                        watch.bar = row.bar
        for code, position in self._ledger.positions.items():
            self._watch_position(self._watches.get(code) or self._watch_held(code), position)


def _make(config: ComponentConfig, kind: str) -> Any:
    return find(config.name, kind)(config.params)


def _overrides(component: object, base: type, method: str) -> bool:
    return getattr(type(component), method) is not getattr(base, method)


def _carry_over(component: Any, config: ComponentConfig, states: list[saved.ComponentState]) -> bool:
    """Gives a component the state that one of the same name and parameters had, if there was one; takes that away."""
    params = saved.encode(config.params)
    for number, was in enumerate(states):
        if was.name == config.name and bytes(was.params) == params:
            if component.State is not None and bytes(was.state) != b"null":
                component.state = msgspec.json.decode(was.state, type=component.State)
            del states[number]
            return True
    return False


def _memory(component: Strategy | Sizer, row: msgspec.Raw) -> Any:
    return None if component.Memory is None else msgspec.json.decode(row, type=component.Memory)
