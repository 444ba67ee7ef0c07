"""The trading desk of a portfolio: turns signals and exits into orders and cancels (the second half of SPEC P5).

Conflicts and chatter first, then risk rules' review, then the sizer, then lots, caps and cash. Whatever comes of a
signal is written down with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from portfolios.kernel.component import RiskRule, Sizer, View
from portfolios.kernel.config import PortfolioConfig
from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.journal import Journal
from portfolios.kernel.ledger import Ledger
from portfolios.kernel.money import ceil_to, to_float, to_units
from portfolios.kernel.orders import BUY, SELL, Cancel, Intent, Order, order_id
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.signals import Decision, DecisionKind, Signal
from portfolios.kernel.state import OpenCancel
from portfolios.kernel.watch import Watch

COLLAR = 0.1
"""Where no limit bounds the price: how much dearer than the last price an opening order may trade, as a share. A buy is
sent as a limit order there, as brokers do of market orders, so that what it holds back always suffices."""

_PPM = 1_000_000


class Wish(NamedTuple):
    """A risk rule's exit from one code, by name and reason."""

    source: str
    reason: str


class _Occasion(NamedTuple):
    """The event that is being decided on, and what has come of it so far."""

    tick: PriceUpdate
    cause: Cause
    intents: list[Intent]


class Desk:
    """Orders of one portfolio. `decided` counts its intents, `cancels` are those whose order is not over."""

    __slots__ = (
        "_journal", "_ledger", "_min_interval", "_portfolio_id", "_pyramiding", "_reviewers", "_rules", "_sizer",
        "_sizer_name", "_strategy_name", "_view", "_watches", "cancels", "decided", "incarnation",
    )  # fmt: skip

    def __init__(
        self,
        portfolio_id: str,
        config: PortfolioConfig,
        rules: MarketRules,
        ledger: Ledger,
        watches: Mapping[str, Watch],
        reviewers: Sequence[RiskRule],
        sizer: Sizer,
        view: View,
        journal: Journal,
    ) -> None:
        policy = config.policy
        self._portfolio_id = portfolio_id
        self._strategy_name = config.strategy.name
        self._sizer_name = config.sizer.name
        self._rules = rules
        self._ledger = ledger
        self._watches = watches
        self._reviewers = reviewers
        self._sizer = sizer
        self._view = view
        self._journal = journal
        self._pyramiding = policy.pyramiding
        self._min_interval = timedelta(seconds=policy.min_signal_interval) if policy.min_signal_interval else None
        self.cancels: dict[str, OpenCancel] = {}
        self.decided = 0
        self.incarnation = 0

    def act(
        self,
        tick: PriceUpdate,
        cause: Cause,
        said: Signal | Sequence[Signal] | None,
        exits: Mapping[str, Wish],
    ) -> list[Intent]:
        """The orders and cancels for what a strategy said and for the risk rules' exits (by code), which go first."""
        occasion = _Occasion(tick, cause, [])
        for code, wish in exits.items():
            self._exit(self._watches[code], occasion, wish)
        for signal in self._settled(tick, said, exits):
            if signal.direction not in (BUY, SELL):
                raise ValueError(f"{self._strategy_name} signalled direction {signal.direction!r}: use BUY or SELL")
            watch = self._watches[signal.code]
            self._journal.add(
                Decision(tick.timestamp, "signal", signal.code, signal.direction, self._strategy_name, signal.reason)
            )
            watch.noted = None
            if self._too_soon(watch, tick, signal):
                continue
            watch.signalled = tick.timestamp
            position = watch.position
            if position is not None and position.volume * signal.direction < 0:
                self._close(watch, occasion, signal)
            elif signal.direction == BUY or self._rules.shorting:
                self._open(watch, occasion, signal)
            else:
                self._cancel_opening(watch, occasion, self._strategy_name, signal.reason)
                self._journal.note(watch, tick, "skip", SELL, "portfolio", "nothing is held")
        return occasion.intents

    def over(self, order: str) -> None:
        """An order is over, and so is every wish to cancel it."""
        for cancel_id in [key for key, each in self.cancels.items() if each.cancel.order_id == order]:
            del self.cancels[cancel_id]

    def unanswered(self) -> list[Intent]:
        """Orders without any feedback and cancels whose order is not over, in the order of their decision; but an
        order that is to be cancelled comes after its cancel, so that it cannot trade in between."""
        cancelled = {each.cancel.order_id: each.number for each in self.cancels.values()}
        waiting: list[tuple[int, int, Intent]] = [
            (cancelled.get(each.order.order_id, each.number), 1, each.order)
            for each in self._ledger.orders.values()
            if not each.answered
        ]
        waiting += [(each.number, 0, each.cancel) for each in self.cancels.values()]
        return [intent for _, _, intent in sorted(waiting, key=lambda row: row[:2])]

    def cancel_unanswered(self, cause: Cause, timestamp: datetime) -> list[Intent]:
        """A cancel for each order without any feedback: what its owner's stop has made obsolete is not sent again."""
        intents: list[Intent] = []
        asked = {each.cancel.order_id for each in self.cancels.values()}
        for each in self._ledger.orders.values():
            if not each.answered and each.order.order_id not in asked:
                self._cancel(each.order, cause, timestamp, intents)
        return intents

    def _settled(
        self, tick: PriceUpdate, said: Signal | Sequence[Signal] | None, exits: Mapping[str, object]
    ) -> list[Signal]:
        """One signal a code, sells first: opposite ones cancel out, and an exit goes before any."""
        if not said:
            return []
        if isinstance(said, Signal) and not said.code and not exits:
            return [Signal(said.direction, said.reason, tick.code)]
        by_code: dict[str, Signal | None] = {}
        for signal in [said] if isinstance(said, Signal) else said:
            code = signal.code or tick.code
            if code not in self._watches:
                reason = f"{code} is not one of its codes"
                self._journal.add(Decision(tick.timestamp, "veto", code, signal.direction, "portfolio", reason))
                continue
            named = signal if signal.code else signal._replace(code=code)
            first = by_code.setdefault(code, named)
            if first is not None and first.direction != named.direction:
                by_code[code] = None
        settled: list[Signal] = []
        for code, kept in by_code.items():
            if kept is None:
                self._journal.note(self._watches[code], tick, "veto", 0, "portfolio", "opposite signals cancel out")
            elif code in exits:
                reason = "a risk rule's exit goes first"
                self._journal.note(self._watches[code], tick, "veto", kept.direction, "portfolio", reason)
            else:
                settled.append(kept)
        return sorted(settled, key=lambda signal: signal.direction)

    def _too_soon(self, watch: Watch, tick: PriceUpdate, signal: Signal) -> bool:
        last = watch.signalled
        if self._min_interval is None or last is None or tick.timestamp - last >= self._min_interval:
            return False
        reason = "too soon after the last signal"
        self._journal.note(watch, tick, "veto", signal.direction, "policy.min_signal_interval", reason)
        return True

    def _waits(self, watch: Watch, tick: PriceUpdate) -> bool:
        return watch.retry is not None and tick.timestamp < watch.retry

    # Closing -------------------------------------------------------------------------------------------------------

    def _exit(self, watch: Watch, occasion: _Occasion, wish: Wish) -> None:
        self._cancel_opening(watch, occasion, wish.source, wish.reason)
        position = watch.position
        if position is None:
            return
        direction = SELL if position.volume > 0 else BUY
        available = position.available
        if available <= 0 or self._waits(watch, occasion.tick):
            why = "already being closed" if position.frozen else "cannot be closed yet"
            self._journal.note(watch, occasion.tick, "skip", direction, wish.source, f"{wish.reason}: {why}")
            return
        self._journal.note(watch, occasion.tick, "exit", direction, wish.source, wish.reason)
        self._order(watch, occasion, direction, available, None, wish.source, wish.reason)

    def _close(self, watch: Watch, occasion: _Occasion, signal: Signal) -> None:
        tick, direction = occasion.tick, signal.direction
        for rule in self._reviewers:
            verdict = rule.review(signal, tick, self._view)
            if verdict is not None and verdict.max_value <= 0:
                self._journal.note(watch, tick, "veto", direction, type(rule).__name__, verdict.reason)
                return
        self._cancel_opening(watch, occasion, self._strategy_name, signal.reason)
        available = watch.position.available if watch.position is not None else 0
        if available <= 0:
            self._journal.note(watch, tick, "skip", direction, "portfolio", "nothing of it can be closed now")
        elif self._waits(watch, tick):
            self._journal.note(watch, tick, "skip", direction, "portfolio", "waits after a rejection")
        else:
            self._order(watch, occasion, direction, available, None, self._strategy_name, signal.reason)

    def _cancel_opening(self, watch: Watch, occasion: _Occasion, source: str, reason: str) -> None:
        if not self._ledger.orders:
            return
        asked = {each.cancel.order_id for each in self.cancels.values()}
        for each in self._ledger.orders.values():
            order = each.order
            if order.code != watch.code or each.closes or order.order_id in asked:
                continue
            self._cancel(order, occasion.cause, occasion.tick.timestamp, occasion.intents)
            self._journal.note(watch, occasion.tick, "cancel", order.direction, source, reason, order_id=order.order_id)

    # Opening -------------------------------------------------------------------------------------------------------

    def _open(self, watch: Watch, occasion: _Occasion, signal: Signal) -> None:
        tick, code, direction = occasion.tick, watch.code, signal.direction
        if not self._pyramiding and (watch.position is not None or self._is_opening(code)):
            self._journal.note(watch, tick, "skip", direction, "policy.pyramiding", "already held or being bought")
            return
        if self._waits(watch, tick):
            self._journal.note(watch, tick, "skip", direction, "portfolio", "waits after a rejection")
            return
        price = to_units(watch.price)
        if price <= 0:
            self._journal.note(watch, tick, "veto", direction, "portfolio", "there is no price yet")
            return
        cap: int | None = None
        capped_by = ("", "")
        for rule in self._reviewers:
            verdict = rule.review(signal, tick, self._view)
            if verdict is None:
                continue
            if verdict.max_value <= 0:
                self._journal.note(watch, tick, "veto", direction, type(rule).__name__, verdict.reason)
                return
            if cap is None or verdict.max_value < cap:
                cap, capped_by = verdict.max_value, (type(rule).__name__, verdict.reason)
        wanted = int(self._sizer.size(signal, price, watch.sizer_memory, self._view))
        volume = self._rules.round_lot(code, direction, wanted)
        if volume <= 0:
            reason = f"less than one lot: {max(wanted, 0)}"
            self._journal.note(watch, tick, "veto", direction, self._sizer_name, reason)
            return
        if cap is not None:
            most = cap // (price * self._rules.multiplier(code))
            volume = self._shrunk(watch, tick, signal, volume, most, *capped_by)
        session, worst, bounded = self._worst(watch, tick, price)
        affordable = self._affordable(code, worst, session, volume)
        volume = self._shrunk(watch, tick, signal, volume, affordable, "portfolio", "there is no cash for more")
        if volume > 0:
            freeze = self._cost_bound(code, worst, volume, session)
            collar = None if bounded or direction != BUY else worst
            self._order(watch, occasion, direction, volume, freeze, self._strategy_name, signal.reason, collar)

    def _shrunk(
        self, watch: Watch, tick: PriceUpdate, signal: Signal, volume: int, most: int, source: str, reason: str
    ) -> int:
        """`volume` cut to what is allowed, in whole lots; 0, written down as a veto, if that is less than one."""
        if most >= volume:
            return volume
        shrunk = self._rules.round_lot(watch.code, signal.direction, most)
        kind: DecisionKind = "shrink" if shrunk > 0 else "veto"
        self._journal.note(watch, tick, kind, signal.direction, source, reason, volume=shrunk)
        return shrunk

    def _is_opening(self, code: str) -> bool:
        return any(each.order.code == code and not each.closes for each in self._ledger.orders.values())

    def _worst(self, watch: Watch, tick: PriceUpdate, price: int) -> tuple[Session, int, bool]:
        """The order's session, the highest price, in units, at which it may trade in it, and whether the exchange sees
        to that by its limits."""
        session = self._rules.order_session(tick.timestamp)
        if session.ordinal != watch.day or watch.prev_close is None:
            base = price
        else:
            base = to_units(watch.prev_close)
        limits = self._rules.limits(watch.code, base, session.day, watch.st)
        if limits is not None:
            return session, limits[1], True
        collar = int(price * (1 + COLLAR))
        return session, ceil_to(collar, self._rules.tick_size(watch.code, session.day, collar)), False

    def _cost_bound(self, code: str, worst: int, volume: int, session: Session) -> int:
        """Cash that opening `volume` at the worst price takes at most: its price, or its margin, and fees."""
        amount = worst * volume * self._rules.multiplier(code)
        margin_rate = self._rules.margin_rate(code)
        price = -(-amount * margin_rate // _PPM) if margin_rate else amount
        return price + self._rules.fees(code, BUY, amount, volume, session.day).total

    def _affordable(self, code: str, worst: int, session: Session, volume: int) -> int:
        """The largest volume up to `volume` whose worst cost the available cash covers."""
        cash = self._view.available_cash
        if self._cost_bound(code, worst, volume, session) <= cash:
            return volume
        low, high = 0, volume
        while high - low > 1:
            middle = (low + high) // 2
            if self._cost_bound(code, worst, middle, session) <= cash:
                low = middle
            else:
                high = middle
        return low

    # Orders --------------------------------------------------------------------------------------------------------

    def _cancel(self, order: Order, cause: Cause, timestamp: datetime, intents: list[Intent]) -> None:
        name = f"{cause.topic}:{cause.partition}:{cause.offset}:{len(intents)}"
        cancel = Cancel(
            cancel_id=order_id(self._portfolio_id, name, self.incarnation),
            order_id=order.order_id,
            portfolio_id=self._portfolio_id,
            cause=name,
            timestamp=timestamp,
        )
        self.cancels[cancel.cancel_id] = OpenCancel(cancel, self.decided)
        self.decided += 1
        intents.append(cancel)

    def _order(
        self,
        watch: Watch,
        occasion: _Occasion,
        direction: int,
        volume: int,
        freeze: int | None,
        source: str,
        reason: str,
        price: int | None = None,
    ) -> None:
        """An order, at the market or, with a `price` in units, at most at that; `freeze` is the cash it holds back,
        None for one that closes a position."""
        cause = occasion.cause
        name = f"{cause.topic}:{cause.partition}:{cause.offset}:{len(occasion.intents)}"
        order = Order(
            order_id=order_id(self._portfolio_id, name, self.incarnation),
            portfolio_id=self._portfolio_id,
            code=watch.code,
            direction=direction,
            order_type="market" if price is None else "limit",
            volume=volume,
            price=None if price is None else to_float(price),
            cause=name,
            timestamp=occasion.tick.timestamp,
        )
        self._ledger.place(order, self.decided, freeze or 0, closes=freeze is None)
        self.decided += 1
        occasion.intents.append(order)
        self._journal.note(watch, occasion.tick, "order", direction, source, reason, volume, order.order_id)
