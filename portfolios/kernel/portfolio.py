"""A portfolio: a pure state machine over a log of prices and feedback (SPEC P4, P5).

`apply(event, cause)` returns the orders and cancels that the event gives rise to and changes nothing but the
portfolio: no I/O, no clock but the event's, no randomness. The flow of a price is: session → credible? → marked →
risk rules' own exits → strategy → conflicts, chatter → risk rules' review → sizer → lots and cash → orders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from portfolios.kernel import state as saved
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.component import RiskRule, Sizer, Strategy
from portfolios.kernel.config import ComponentConfig, PortfolioConfig
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.ledger import Ledger, OpenOrder, Position
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, Cancel, Intent, Order, order_id
from portfolios.kernel.registry import find
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.signals import Decision, DecisionKind, Exit, Signal
from portfolios.kernel.watch import Watch

RETRY_AFTER = timedelta(seconds=60)
"""Event time to wait after a rejection before an order of the same code is sent again."""
UNBOUNDED_MARGIN = 0.1
"""What a buy holds back beyond the price where no limit bounds it, as a share."""
MAX_DECISIONS = 1000

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
        "_bar", "_cancels", "_decide", "_decided", "_decisions", "_end", "_exit_rules", "_ledger",
        "_max_age", "_min_interval", "_now", "_pyramiding", "_review_rules", "_risks", "_session",
        "_session_hooks", "_sizer", "_sizer_hears", "_start", "_strategy", "_value_rules", "_watches", "config",
        "incarnation", "portfolio_id", "pseq", "rules",
    )  # fmt: skip

    def __init__(self, portfolio_id: str, config: PortfolioConfig, rules: MarketRules, initial_cash: int) -> None:
        self.portfolio_id = portfolio_id
        self.config = config
        self.rules = rules
        self.pseq = 0
        self.incarnation = 0
        self._decided = 0
        self._cancels: dict[str, saved.OpenCancel] = {}
        self._decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)
        self._ledger = Ledger(initial=initial_cash, cash=initial_cash)
        self._now = _LONG_AGO
        self._session: Session | None = None
        self._start = self._end = _LONG_AGO

        policy = config.policy
        self._bar = policy.bar
        self._max_age = None if policy.max_signal_age is None else timedelta(seconds=policy.max_signal_age)
        self._min_interval = timedelta(seconds=policy.min_signal_interval) if policy.min_signal_interval else None
        self._pyramiding = policy.pyramiding

        strategy = _make(config.strategy, "strategy")
        sizer = _make(config.sizer, "sizer")
        assert isinstance(strategy, Strategy) and isinstance(sizer, Sizer)
        strategy.view = self
        self._strategy = strategy
        self._sizer = sizer
        self._risks: list[RiskRule] = [_make(risk, "risk") for risk in config.risk_managements]
        self._decide = strategy.on_price
        # Only those who listen are called: a hook that a component leaves alone costs nothing.
        self._exit_rules = [risk for risk in self._risks if _overrides(risk, RiskRule, "on_price")]
        self._value_rules = [risk for risk in self._risks if _overrides(risk, RiskRule, "on_value")]
        self._review_rules = [risk for risk in self._risks if _overrides(risk, RiskRule, "review")]
        self._sizer_hears = _overrides(sizer, Sizer, "on_price")
        self._session_hooks = _overrides(strategy, Strategy, "on_session") or _overrides(sizer, Sizer, "on_session")

        special = frozenset(policy.st)
        self._watches = {code: self._watch(code, code in special, traded=True) for code in config.codes}

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
    def cash(self) -> int:
        """All cash in units, what open buys hold back included."""
        return self._ledger.cash

    @property
    def frozen(self) -> int:
        """Cash in units that open buys hold back."""
        return self._ledger.frozen

    @property
    def available_cash(self) -> int:
        return self._ledger.available

    @property
    def initial_cash(self) -> int:
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
        watch = self._watches.get(code)
        return to_units(watch.price) if watch is not None else 0

    def committed(self, code: str | None = None) -> int:
        positions = self._ledger.positions
        if code is None:
            return self._ledger.market_value + self._ledger.frozen
        held = positions[code].market_value if code in positions else 0
        return held + sum(each.frozen for each in self._ledger.orders.values() if each.order.code == code)

    def open_orders(self) -> list[OpenOrder]:
        """Orders that are not over, in the order of their decision."""
        return list(self._ledger.orders.values())

    def unanswered(self) -> list[Intent]:
        """Orders without any feedback and cancels whose order is not over, in the order of their decision."""
        waiting: list[tuple[int, Intent]] = [
            (each.number, each.order) for each in self._ledger.orders.values() if not each.answered
        ]
        waiting += [(each.number, each.cancel) for each in self._cancels.values()]
        return [intent for _, intent in sorted(waiting, key=lambda pair: pair[0])]

    def take_decisions(self) -> list[Decision]:
        """What was decided since the last call, and why; the newest `MAX_DECISIONS`."""
        decisions = list(self._decisions)
        self._decisions.clear()
        return decisions

    def on_stop(self) -> None:
        for component in (self._strategy, *self._risks, self._sizer):
            component.on_stop()

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
            session = self._session_for(timestamp)
        if watch.day != session.ordinal:
            watch.open_session(session, event, self.rules)
            if self._session_hooks:
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
        if position is None:
            if stale or self._bar != "tick" or self._sizer_hears or not watch.traded:
                return self._on_price(watch, event, cause, session, None, stale)
            signal = self._decide(watch.memory, event)
            if not signal:
                return []
            return self._act(event, cause, signal, {})
        self._ledger.mark(position, int(price * 10_000 + 0.5))
        return self._on_price(watch, event, cause, session, position, stale)

    def warm_up(self, tick: PriceUpdate) -> None:
        """Lets the strategy and the sizer see a price of the past: nothing is signalled, marked or ordered."""
        watch = self._watches.get(tick.code)
        if watch is None or not watch.traded or not tick.price > 0:
            return
        session = self.rules.session_at(tick.timestamp)
        if watch.day != session.ordinal:
            watch.open_session(session, tick, self.rules)
            if self._session_hooks:
                self._open_session(watch, tick)
        watch.price = tick.price
        for bar in self._bars(watch, tick, session):
            if self._sizer_hears:
                self._sizer.on_price(watch.sizer_memory, bar)
            self._decide(watch.memory, bar)

    def _on_price(
        self,
        watch: Watch,
        tick: PriceUpdate,
        cause: Cause,
        session: Session,
        position: Position | None,
        stale: bool,
    ) -> list[Intent]:
        """The whole flow of a good price; `apply` takes short cuts where nothing of it can happen."""
        exits: dict[str, tuple[str, str]] = {}
        if position is not None and not stale:
            for rule in self._exit_rules:
                self._collect(exits, rule, rule.on_price(position, tick, self), watch.code)
            for rule in self._value_rules:
                self._collect(exits, rule, rule.on_value(self), watch.code)
        signals: Signal | Sequence[Signal] | None = None
        if watch.traded:
            for bar in self._bars(watch, tick, session):
                if self._sizer_hears:
                    self._sizer.on_price(watch.sizer_memory, bar)
                said = self._decide(watch.memory, bar)
                if said:
                    signals = said
        if signals and stale:
            self._note(watch, tick, "data", 0, "policy.max_signal_age", "stale price: no signal")
            signals = None
        if not signals and not exits:
            return []
        return self._act(tick, cause, signals, exits)

    def _bars(self, watch: Watch, tick: PriceUpdate, session: Session) -> Sequence[PriceUpdate]:
        if watch.bar is None:
            return (tick,)
        return watch.bar.add(tick, self._bar, session)

    def _collect(self, exits: dict[str, tuple[str, str]], rule: RiskRule, wish: Exit | None, code: str) -> None:
        if wish is None:
            return
        for each in list(self._ledger.positions) if wish.everything else [code]:
            exits.setdefault(each, (type(rule).__name__, wish.reason))

    # From signals to orders ----------------------------------------------------------------------------------------

    def _act(
        self,
        tick: PriceUpdate,
        cause: Cause,
        said: Signal | Sequence[Signal] | None,
        exits: dict[str, tuple[str, str]],
    ) -> list[Intent]:
        intents: list[Intent] = []
        for code, (source, reason) in exits.items():
            self._exit(self._watches[code], tick, cause, source, reason, intents)
        source = self.config.strategy.name
        for signal in self._settled(tick, said, exits):
            watch = self._watches[signal.code]
            self._decisions.append(
                Decision(tick.timestamp, "signal", signal.code, signal.direction, source, signal.reason)
            )
            watch.noted = None
            if self._too_soon(watch, tick, signal):
                continue
            watch.signalled = tick.timestamp
            if signal.direction == SELL:
                self._sell(watch, tick, cause, signal, intents)
            else:
                self._buy(watch, tick, cause, signal, intents)
        return intents

    def _settled(
        self, tick: PriceUpdate, said: Signal | Sequence[Signal] | None, exits: Mapping[str, object]
    ) -> list[Signal]:
        """One signal a code, sells first: opposite ones cancel out, and an exit goes before any."""
        if not said:
            return []
        given = [said] if isinstance(said, Signal) else list(said)
        by_code: dict[str, Signal | None] = {}
        for signal in given:
            code = signal.code or tick.code
            if code not in self._watches:
                self._decisions.append(
                    Decision(tick.timestamp, "veto", code, signal.direction, "portfolio", "not one of its codes")
                )
                continue
            named = signal if signal.code else signal._replace(code=code)
            first = by_code.setdefault(code, named)
            if first is not None and first.direction != named.direction:
                by_code[code] = None
        settled: list[Signal] = []
        for code, kept in by_code.items():
            if kept is None:
                self._note(self._watches[code], tick, "veto", 0, "portfolio", "opposite signals cancel out")
            elif code in exits:
                self._note(self._watches[code], tick, "veto", kept.direction, "portfolio", "a rule's exit goes first")
            else:
                settled.append(kept)
        return sorted(settled, key=lambda signal: signal.direction)

    def _too_soon(self, watch: Watch, tick: PriceUpdate, signal: Signal) -> bool:
        last = watch.signalled
        if self._min_interval is None or last is None or tick.timestamp - last >= self._min_interval:
            return False
        self._note(watch, tick, "veto", signal.direction, "policy.min_signal_interval", "too soon after the last")
        return True

    def _exit(
        self, watch: Watch, tick: PriceUpdate, cause: Cause, source: str, reason: str, intents: list[Intent]
    ) -> None:
        self._cancel_buys(watch, tick, cause, source, reason, intents)
        position = watch.position
        available = position.available if position is not None else 0
        if available <= 0 or self._waits(watch, tick):
            why = "already being sold" if position is not None and position.frozen else "cannot be sold yet"
            self._note(watch, tick, "skip", SELL, source, f"{reason}: {why}")
            return
        self._note(watch, tick, "exit", SELL, source, reason)
        self._order(watch, tick, cause, SELL, available, 0, source, reason, intents)

    def _sell(self, watch: Watch, tick: PriceUpdate, cause: Cause, signal: Signal, intents: list[Intent]) -> None:
        for rule in self._review_rules:
            verdict = rule.review(signal, tick, self)
            if verdict is not None and verdict.max_value <= 0:
                self._note(watch, tick, "veto", SELL, type(rule).__name__, verdict.reason)
                return
        self._cancel_buys(watch, tick, cause, self.config.strategy.name, signal.reason, intents)
        position = watch.position
        available = position.available if position is not None else 0
        if available <= 0:
            why = "nothing is held" if position is None else "nothing that is held can be sold now"
            self._note(watch, tick, "skip", SELL, "portfolio", why)
        elif self._waits(watch, tick):
            self._note(watch, tick, "skip", SELL, "portfolio", "waits after a rejection")
        else:
            self._order(watch, tick, cause, SELL, available, 0, self.config.strategy.name, signal.reason, intents)

    def _buy(self, watch: Watch, tick: PriceUpdate, cause: Cause, signal: Signal, intents: list[Intent]) -> None:
        code = watch.code
        if not self._pyramiding and (watch.position is not None or self._has_open(code, BUY)):
            self._note(watch, tick, "skip", BUY, "policy.pyramiding", "already held or being bought")
            return
        if self._waits(watch, tick):
            self._note(watch, tick, "skip", BUY, "portfolio", "waits after a rejection")
            return
        price = to_units(watch.price)
        if price <= 0:
            self._note(watch, tick, "veto", BUY, "portfolio", "there is no price yet")
            return
        cap: int | None = None
        capped_by = ("", "")
        for rule in self._review_rules:
            verdict = rule.review(signal, tick, self)
            if verdict is None:
                continue
            if verdict.max_value <= 0:
                self._note(watch, tick, "veto", BUY, type(rule).__name__, verdict.reason)
                return
            if cap is None or verdict.max_value < cap:
                cap, capped_by = verdict.max_value, (type(rule).__name__, verdict.reason)
        wanted = self._sizer.size(signal, price, watch.sizer_memory, self)
        volume = self.rules.round_lot(code, BUY, wanted)
        if volume <= 0:
            self._note(watch, tick, "veto", BUY, self.config.sizer.name, f"less than one lot: {max(wanted, 0)}")
            return
        if cap is not None:
            volume = self._shrunk(watch, tick, volume, cap // (price * self.rules.multiplier(code)), *capped_by)
        session, worst = self._worst(watch, tick, price)
        affordable = self._affordable(code, worst, session, volume)
        volume = self._shrunk(watch, tick, volume, affordable, "portfolio", "there is no cash for more")
        if volume > 0:
            freeze = self._cost_bound(code, worst, volume, session)
            self._order(watch, tick, cause, BUY, volume, freeze, self.config.strategy.name, signal.reason, intents)

    def _shrunk(self, watch: Watch, tick: PriceUpdate, volume: int, most: int, source: str, reason: str) -> int:
        """`volume` cut to what is allowed, in whole lots; 0, written down as a veto, if that is less than one."""
        if most >= volume:
            return volume
        shrunk = self.rules.round_lot(watch.code, BUY, most)
        kind: DecisionKind = "shrink" if shrunk > 0 else "veto"
        if volume > 0:
            self._note(watch, tick, kind, BUY, source, reason, volume=shrunk)
        return shrunk

    def _worst(self, watch: Watch, tick: PriceUpdate, price: int) -> tuple[Session, int]:
        """The order's session and the highest price, in units, at which a market buy can trade in it."""
        session = self.rules.order_session(tick.timestamp)
        if session.ordinal != watch.day:
            base: int | None = price
        else:
            base = None if watch.prev_close is None else to_units(watch.prev_close)
        limits = self.rules.limits(watch.code, base or price, session.day, watch.st)
        if limits is None:
            return session, int(price * (1 + UNBOUNDED_MARGIN))
        return session, limits[1]

    def _cost_bound(self, code: str, worst: int, volume: int, session: Session) -> int:
        amount = worst * volume * self.rules.multiplier(code)
        return amount + self.rules.fees(code, BUY, amount, volume, session.day).total

    def _affordable(self, code: str, worst: int, session: Session, volume: int) -> int:
        """The largest volume up to `volume` whose worst cost the available cash covers."""
        cash = self._ledger.available
        if self._cost_bound(code, worst, volume, session) <= cash:
            return volume
        each = worst * self.rules.multiplier(code)
        most = min(cash // each, volume)
        fees = self.rules.fees(code, BUY, most * each, most, session.day).total if most else 0
        most = self.rules.round_lot(code, BUY, (cash - fees) // each) if cash > fees else 0
        while most > 0 and self._cost_bound(code, worst, most, session) > cash:
            most = self.rules.round_lot(code, BUY, most - 1)
        return most

    def _has_open(self, code: str, direction: int) -> bool:
        return any(
            each.order.code == code and each.order.direction == direction for each in self._ledger.orders.values()
        )

    def _waits(self, watch: Watch, tick: PriceUpdate) -> bool:
        return watch.retry is not None and tick.timestamp < watch.retry

    def _cancel_buys(
        self, watch: Watch, tick: PriceUpdate, cause: Cause, source: str, reason: str, intents: list[Intent]
    ) -> None:
        asked = {each.cancel.order_id for each in self._cancels.values()}
        for each in self._ledger.orders.values():
            order = each.order
            if order.code != watch.code or order.direction != BUY or order.order_id in asked:
                continue
            name = f"{cause.topic}:{cause.partition}:{cause.offset}:{len(intents)}"
            cancel = Cancel(
                cancel_id=order_id(self.portfolio_id, name, self.incarnation),
                order_id=order.order_id,
                portfolio_id=self.portfolio_id,
                cause=name,
                timestamp=tick.timestamp,
            )
            self._cancels[cancel.cancel_id] = saved.OpenCancel(cancel, self._decided)
            self._decided += 1
            intents.append(cancel)
            self._note(watch, tick, "cancel", BUY, source, reason, order_id=order.order_id)

    def _order(
        self,
        watch: Watch,
        tick: PriceUpdate,
        cause: Cause,
        direction: int,
        volume: int,
        freeze: int,
        source: str,
        reason: str,
        intents: list[Intent],
    ) -> None:
        name = f"{cause.topic}:{cause.partition}:{cause.offset}:{len(intents)}"
        order = Order(
            order_id=order_id(self.portfolio_id, name, self.incarnation),
            portfolio_id=self.portfolio_id,
            code=watch.code,
            direction=direction,
            order_type="market",
            volume=volume,
            price=None,
            cause=name,
            timestamp=tick.timestamp,
        )
        self._ledger.place(order, self._decided, freeze)
        self._decided += 1
        intents.append(order)
        self._note(watch, tick, "order", direction, source, reason, volume=volume, order_id=order.order_id)

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
        amount, commission, tax = feedback.filled_amount, feedback.commission, feedback.tax
        if (
            code is msgspec.UNSET
            or direction is msgspec.UNSET
            or volume is msgspec.UNSET
            or amount is msgspec.UNSET
            or volume <= 0
        ):
            raise ValueError(f"feedback {feedback.pseq} of order {feedback.order_id} is a fill without its figures")
        paid = to_units(float(amount))
        fees = sum(to_units(float(fee)) for fee in (commission, tax) if fee is not msgspec.UNSET)
        session = self.rules.session_at(feedback.timestamp)
        self._enter(session)
        locks = self.rules.t_plus > 0 and self._session is not None and session.ordinal >= self._session.ordinal
        watch = self._watches.get(code) or self._watch_held(code)
        position = self._ledger.fill(code, direction, volume, paid, fees, session.ordinal if locks else None)
        if open_order is not None:
            self._ledger.progress(open_order, volume, paid + fees)
        if position.volume:
            position.multiplier = self.rules.multiplier(code)
            watch.position = position
            if watch.price > 0:
                self._ledger.mark(position, to_units(watch.price))
        else:
            watch.position = None
            self._forget(watch)

    def _finish(self, open_order: OpenOrder, feedback: Feedback) -> None:
        order = open_order.order
        self._ledger.close(open_order)
        for cancel_id in [key for key, each in self._cancels.items() if each.cancel.order_id == order.order_id]:
            del self._cancels[cancel_id]
        self._forget(self._watches[order.code])
        if feedback.event_type == "order_rejected":
            reason = feedback.reason if feedback.reason is not msgspec.UNSET else "rejected"
            if order.code in self._watches:
                self._watches[order.code].retry = feedback.timestamp + RETRY_AFTER
            self._decisions.append(
                Decision(
                    feedback.timestamp, "veto", order.code, order.direction, "engine", str(reason),
                    order.volume, order.order_id,
                )
            )  # fmt: skip

    # Sessions and doubtful prices ----------------------------------------------------------------------------------

    def _session_for(self, timestamp: datetime) -> Session:
        session = self.rules.session_at(timestamp)
        self._enter(session)
        return session

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

    def _refuse(self, watch: Watch, tick: PriceUpdate) -> None:
        if tick.price > 0:
            watch.raw = tick.price
            bounds = f"outside the price limits {watch.low:g} to {watch.high:g}"
        else:
            bounds = "not a price"
        self._note(watch, tick, "data", 0, "portfolio", f"{tick.price:g} is {bounds}")

    def _note(
        self,
        watch: Watch,
        tick: PriceUpdate,
        kind: DecisionKind,
        direction: int,
        source: str,
        reason: str,
        volume: int = 0,
        order_id: str = "",
    ) -> None:
        """Writes a decision down; the same one of the same code, tick after tick, only once."""
        noted = (kind, reason)
        if noted == watch.noted and not order_id:
            return
        watch.noted = noted
        self._decisions.append(Decision(tick.timestamp, kind, watch.code, direction, source, reason, volume, order_id))

    # Snapshots -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state as JSON; deterministic: `restore`, then the same events, gives the same bytes."""
        config = self.config
        return saved.encode(
            {
                "v": saved.SNAPSHOT_VERSION,
                "incarnation": self.incarnation,
                "pseq": self.pseq,
                "decided": self._decided,
                "now": None if self._now is _LONG_AGO else self._now,
                "day": self._session.ordinal if self._session is not None else 0,
                "ledger": self._ledger,
                "cancels": list(self._cancels.values()),
                "components": {
                    "strategy": [config.strategy.name, config.strategy.params, self._strategy.state],
                    "sizer": [config.sizer.name, config.sizer.params, self._sizer.state],
                    "risks": [
                        [risk.name, risk.params, made.state]
                        for risk, made in zip(config.risk_managements, self._risks, strict=True)
                    ],
                    "bar": self._bar,
                },
                "watches": [
                    [
                        watch.code, watch.day, watch.price, watch.raw, watch.prev_close, watch.signalled, watch.retry,
                        watch.memory, watch.sizer_memory, watch.bar,
                    ]
                    for watch in self._watches.values()
                ],
            }
        )  # fmt: skip

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
        portfolio = cls(portfolio_id, config, rules, 0)
        portfolio._restore(was)
        return portfolio

    def reconfigured(self, config: PortfolioConfig) -> Portfolio:
        """The same portfolio under another config (SPEC N5): see `restore`. This one stays as it is."""
        return Portfolio.restore(self.snapshot(), self.portfolio_id, config, self.rules)

    def _restore(self, was: saved.PortfolioState) -> None:
        self.incarnation, self.pseq, self._decided = was.incarnation, was.pseq, was.decided
        self._now = was.now if was.now is not None else _LONG_AGO
        self._ledger = was.ledger
        self._cancels = {each.cancel.cancel_id: each for each in was.cancels}
        if was.day:
            self._session = self.rules.session_on(date.fromordinal(was.day))
            self._start, self._end = self._session.start, self._session.end
        same_bar = was.components.bar == self._bar
        same_strategy = _same(was.components.strategy, self.config.strategy) and same_bar
        same_sizer = _same(was.components.sizer, self.config.sizer) and same_bar
        if same_strategy:
            _load_state(self._strategy, was.components.strategy)
        if same_sizer:
            _load_state(self._sizer, was.components.sizer)
        left = list(was.components.risks)
        for risk, made in zip(self.config.risk_managements, self._risks, strict=True):
            match = next((each for each in left if _same(each, risk)), None)
            if match is not None:
                left.remove(match)
                _load_state(made, match)
        needed = {*self._ledger.positions, *(each.order.code for each in self._ledger.orders.values())}
        for row in was.watches:
            watch = self._watches.get(row.code)
            if watch is None:
                if row.code not in needed:
                    continue
                watch = self._watch_held(row.code)
            self._restore_watch(watch, row, same_strategy, same_sizer, same_bar)
        for code, position in self._ledger.positions.items():
            (self._watches.get(code) or self._watch_held(code)).position = position

    def _restore_watch(self, watch: Watch, row: saved.WatchState, strategy: bool, sizer: bool, bar: bool) -> None:
        watch.day, watch.price, watch.raw = row.day, row.price, row.raw
        watch.signalled, watch.retry = row.signalled, row.retry
        if row.day:
            watch.limit(row.prev_close, self.rules.session_on(date.fromordinal(row.day)), self.rules)
        if watch.traded:
            if strategy and self._strategy.Memory is not None and row.memory != b"null":
                watch.memory = msgspec.json.decode(row.memory, type=self._strategy.Memory)
            if sizer and self._sizer.Memory is not None and row.sizer_memory != b"null":
                watch.sizer_memory = msgspec.json.decode(row.sizer_memory, type=self._sizer.Memory)
            if bar and watch.bar is not None and row.bar != b"null":
                watch.bar = msgspec.json.decode(row.bar, type=BarBuilder)

    def _watch(self, code: str, st: bool, *, traded: bool) -> Watch:
        watch = Watch(code, st=st, traded=traded)
        if traded:
            watch.memory = self._strategy.start()
            watch.sizer_memory = self._sizer.start()
            watch.bar = BarBuilder() if self._bar != "tick" else None
        return watch

    def _watch_held(self, code: str) -> Watch:
        """A code that is held or ordered without being configured."""
        watch = self._watches[code] = self._watch(code, code in self.config.policy.st, traded=False)
        return watch

    def _forget(self, watch: Watch) -> None:
        """A code that is neither configured nor held nor ordered any more is not watched any more."""
        if watch.traded or watch.position is not None:
            return
        if not any(each.order.code == watch.code for each in self._ledger.orders.values()):
            del self._watches[watch.code]


def _make(config: ComponentConfig, kind: str) -> Any:
    return find(config.name, kind)(config.params)


def _overrides(component: object, base: type, method: str) -> bool:
    return getattr(type(component), method) is not getattr(base, method)


def _same(was: saved.ComponentState, config: ComponentConfig) -> bool:
    return was.name == config.name and bytes(was.params) == saved.encode(config.params)


def _load_state(component: Any, was: saved.ComponentState) -> None:
    if component.State is not None and was.state != b"null":
        component.state = msgspec.json.decode(was.state, type=component.State)
