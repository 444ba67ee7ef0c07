"""The simulated exchange at work: one thread that shows ticks to the orders that wait for them (SPEC M4).

What a tick does to an order is the kernel's `match`, the same as in a backtest. An order meets the ticks of its code
from its cause on, in the order of the log, wherever the tape already is; its cursor commits with its fills. A cancel
too has a place in the log, that of its cause: up to there the order still trades, whichever of the two comes first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import KafkaException
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market.alerting import Alerter
from market.brokers import book
from market.brokers.book import Change, Placed
from market.brokers.tape import Line, Place, Tape
from market.bus import partition_of
from market.engine.rulebook import Rulebook
from market.messages import PriceUpdate, decode_price
from market.poison import UNDECODABLE, PoisonCounter
from market.pretrade import Quote
from market.topics import market_of, market_topic
from portfolios.kernel.events import Cause
from portfolios.kernel.exchange import Expired, Resting, advance, match
from portfolios.kernel.money import to_units

log = logging.getLogger(__name__)

_POLL = 0.005
_IDLE = 0.2
_LINGER = 60.0
_BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)
_PATIENCE = 6
"""Failures in a row after which the exchange reads by a new client."""


@dataclass
class _Working:
    placed: Placed
    resting: Resting
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Recall:
    """The wish to end an order; `cause` (`topic:partition:offset:n`) is what it trades up to."""

    order_id: str
    at: datetime
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last tick of a code: its price and the day's base price, in units."""

    quote: Quote
    session: int


class Exchange:
    """Orders come by `admit` and go by `dismiss` or `recall`, from any thread; `notify` is told the ids of those that
    changed. `save_cursors`: how often, in seconds, the cursors of orders that wait are saved."""

    def __init__(
        self,
        tape: Callable[[Callable[[Place, int, int], None]], Tape],
        rulebook: Rulebook,
        slippage_rate: float,
        alerter: Alerter,
        notify: Callable[[set[str]], None],
        save_cursors: float = 10.0,
    ) -> None:
        self._make_tape = tape
        self._rulebook = rulebook
        self._slippage_rate = slippage_rate
        self._alerter = alerter
        self._poison = PoisonCounter(alerter)
        self._notify = notify
        self._save_cursors = save_cursors
        self._moves: deque[Placed | Recall | str] = deque()
        self._recalls: dict[str, tuple[Recall, dict[Place, int]]] = {}
        self._wake = threading.Event()
        self._working: dict[bytes, dict[str, _Working]] = {}
        self._code_of: dict[str, bytes] = {}
        self._seen: dict[str, _Seen | None] = {}
        self._partitions: dict[str, int] = {}
        self._last_used: dict[Place, float] = {}
        self._next_save = 0.0

    def admit(self, placed: Iterable[Placed]) -> None:
        """Match these orders from their cursors on. One that is here already stays as it is."""
        for each in placed:
            self._seen.setdefault(each.resting.code, None)
            self._moves.append(each)
        self._wake.set()

    def dismiss(self, order_ids: Iterable[str]) -> None:
        self._moves.extend(order_ids)
        self._wake.set()

    def recall(self, recall: Recall) -> None:
        """End an order once it has met what was in the log before its cancel was decided. That is news then."""
        self._moves.append(recall)
        self._wake.set()

    def quote(self, code: str) -> Quote | None:
        seen = self._seen.get(code)
        return None if seen is None else seen.quote

    def run(self, stop: threading.Event) -> None:
        """The thread: returns when `stop` is set. Kafka or the database being away makes it wait, not fail."""
        tape = self._make_tape(self._gap)
        try:
            failures = 0
            while not stop.is_set():
                try:
                    self.step(tape, stop)
                    failures = 0
                except (KafkaException, DatabaseError) as error:
                    log.warning("The simulated exchange waits: %s", error)
                    close_old_connections()
                    stop.wait(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)])
                    failures += 1
                    if isinstance(error, KafkaException) and failures % _PATIENCE == 0:
                        # A client that has seen its broker lose the lead may never again find a partition's leader.
                        tape.close()
                        tape = self._make_tape(self._gap)
                        self._take_in_again()
        finally:
            tape.close()

    def _take_in_again(self) -> None:
        """All that is here comes anew, as after a start: the orders by their cursors, then what is to end them."""
        orders = [order.placed for by_id in self._working.values() for order in by_id.values()]
        recalls = [recall for recall, _ in self._recalls.values()]
        self._working, self._code_of, self._recalls = {}, {}, {}
        self._moves.extendleft(reversed([*orders, *recalls]))

    def step(self, tape: Tape, stop: threading.Event) -> bool:
        """Take in arrivals, read on, match. Whether there was anything to do."""
        missed = self._take_in(tape)
        self._show(missed, stop)
        lines: list[Line] = []
        if tape.places:
            lines = tape.poll(_POLL)
            self._show(lines, stop)
        elif not missed:
            self._wake.wait(_IDLE)
            self._wake.clear()
        self._carry_out_recalls(tape)
        self._tidy(tape)
        return bool(missed or lines)

    def _take_in(self, tape: Tape) -> list[Line]:
        """Orders that left are forgotten, those that came get their place on the tape: what they missed of it."""
        missed: list[Line] = []
        while self._moves:
            placed = self._moves[0]
            if isinstance(placed, str):
                self._forget(placed)
                self._moves.popleft()
                continue
            if isinstance(placed, Recall):
                self._recalls[placed.order_id] = placed, self._up_to(placed, tape)
                self._moves.popleft()
                continue
            resting = placed.resting
            here = self._working.get(resting.code.encode(), {}).get(resting.order_id)
            if here is None:
                try:
                    places = self._places_of(resting.code, tape)
                    placed = self._in_the_log(placed, places, tape)
                    missed += [line for place in places for line in self._begin(placed, place, tape)]
                except (KafkaException, DatabaseError):
                    if missed:
                        return missed  # first those for whom it is known; this one is still the first to come
                    raise
                self._code_of[resting.order_id] = resting.code.encode()
                orders = self._working.setdefault(resting.code.encode(), {})
                orders[resting.order_id] = _Working(placed, placed.resting, places)
            self._moves.popleft()
        return missed

    def _places_of(self, code: str, tape: Tape) -> tuple[Place, ...]:
        topic = market_topic(code)
        if topic not in self._partitions:
            self._partitions[topic] = tape.partitions(topic)
        count = self._partitions[topic]
        if settings.GINKGO.kafka.partition_pruning:
            return ((topic, partition_of(code, count)),)
        return tuple((topic, number) for number in range(count))

    def _in_the_log(self, placed: Placed, places: tuple[Place, ...], tape: Tape) -> Placed:
        """A cursor beyond the log's end is of a log that was made anew: the order goes on from its end."""
        resting = placed.resting
        here = (resting.topic, resting.partition)
        if here not in places or resting.offset < tape.next(here):
            return placed
        end = tape.end(here)
        if resting.offset < end:
            return placed
        self._gap(here, resting.offset, end)
        return book.reanchor(placed, end - 1) or placed

    def _begin(self, placed: Placed, place: Place, tape: Tape) -> list[Line]:
        resting = placed.resting
        if place == (resting.topic, resting.partition):
            # From the cursor itself, though it will not be matched: it tells the price that the day starts from.
            lines = tape.read_from(place, resting.offset)
        else:
            lines = tape.read_after(place, resting.timestamp, placed.since)
        code = resting.code.encode()
        return [line for line in lines if line.key == code]

    def _up_to(self, recall: Recall, tape: Tape) -> dict[Place, int]:
        """How far an order must have been shown the log before it may end: past the cause of its cancel, or, where that
        is not in the order's own partition, past what is there by now."""
        code = self._code_of.get(recall.order_id)
        if code is None:
            return {}
        topic, partition, offset, _ = recall.cause.rsplit(":", 3)
        cause = (topic, int(partition))
        places = self._working[code][recall.order_id].places
        if cause in places:
            return {cause: min(int(offset) + 1, tape.end(cause))}
        return {place: tape.end(place) for place in places}

    def _is_recalled(self, order_id: str, line: Line) -> bool:
        """Whether an order trades no more at this place of the log, as its cancel was decided before."""
        recalled = self._recalls.get(order_id)
        return recalled is not None and line.offset >= recalled[1].get((line.topic, line.partition), 0)

    def _carry_out_recalls(self, tape: Tape) -> None:
        for order_id, (recall, up_to) in list(self._recalls.items()):
            if order_id in self._code_of and any(tape.next(place) < offset for place, offset in up_to.items()):
                continue
            book.cancel(order_id, recall.at, recall.reason)
            del self._recalls[order_id]
            self._forget(order_id)
            self._notify({order_id})

    def _show(self, lines: list[Line], stop: threading.Event) -> None:
        changes: dict[str, Change] = {}
        seen = self._seen
        for line in lines:
            orders = self._working.get(line.key)
            if not orders and line.key.decode(errors="replace") not in seen:
                continue
            try:
                tick = decode_price(line.value)
            except UNDECODABLE as error:
                self._poison.skip(line.topic, line.partition, line.offset, error)
                continue
            base = self._look(tick)
            if orders:
                self._match(line, tick, orders, base, changes)
        done = [each for each in changes.values() if each.fills or each.expired_at is not None]
        if done:
            self._commit(done, stop)

    def _match(
        self, line: Line, tick: PriceUpdate, orders: dict[str, _Working], base: int | None, changes: dict[str, Change]
    ) -> None:
        at = Cause(line.topic, line.partition, line.offset)
        rules = self._rulebook(market_of(tick.code))
        assert rules is not None, "an order of a market without rules is refused at the door"
        for order_id, order in list(orders.items()):
            change = changes.get(order_id) or Change(order.placed, order.resting)
            if change.state != "working" or self._is_recalled(order_id, line):
                continue
            try:
                result = match(change.resting, tick, at, rules, self._slippage_rate, base)
            except Exception as error:  # one order's fault must not stop everybody's exchange
                log.exception("Order %s cannot be matched", order_id)
                self._alerter.raise_alert(
                    "component_error", "critical", f"Order {order_id} cannot be matched: {error}", order_id=order_id
                )
                self._forget(order_id)
                continue
            if isinstance(result, Expired):
                change.expired_at = result.timestamp
            elif result is not None:
                change.fills.append(result)
                change.resting = advance(change.resting, at, result)
            elif (at.topic, at.partition) == (change.resting.topic, change.resting.partition):
                if at.offset <= change.resting.offset:
                    continue
                change.resting = advance(change.resting, at)
            elif tick.timestamp > change.resting.timestamp:
                change.resting = advance(change.resting, at)
            order.resting = change.resting if not change.fills else order.resting
            changes[order_id] = change

    def _commit(self, changes: list[Change], stop: threading.Event) -> None:
        """Into the book, however long it takes; unless stopped, when it will all be found again."""
        failures = 0
        while True:
            try:
                standing, lost = book.change(changes)
                break
            except DatabaseError as error:
                log.warning("The simulated exchange cannot write its book, trying again: %s", error)
                close_old_connections()
                if stop.wait(_BACK_OFF[min(failures, len(_BACK_OFF) - 1)]):
                    return
                failures += 1
        for change in changes:
            order_id = change.resting.order_id
            if order_id in standing:
                order = self._working[self._code_of[order_id]][order_id]
                order.placed, order.resting = standing[order_id], standing[order_id].resting
            else:
                self._forget(order_id)
        if lost:
            self.admit(book.working(lost))
        self._notify({change.resting.order_id for change in changes})

    def _look(self, tick: PriceUpdate) -> int | None:
        """Remember the code's last price; the base of its price limits (units), where that is known."""
        rules = self._rulebook(market_of(tick.code))
        if rules is None or not tick.price > 0:
            return None
        session = rules.session_at(tick.timestamp).ordinal
        was = self._seen.get(tick.code)
        if was is not None and tick.timestamp < was.quote.timestamp:
            return was.quote.prev_close if session == was.session else None
        base: int | None
        if tick.prev_close is not None:
            base = to_units(tick.prev_close)
        elif was is not None:
            base = was.quote.price if session != was.session else was.quote.prev_close
        else:
            base = None
        self._seen[tick.code] = _Seen(Quote(to_units(tick.price), tick.timestamp, base), session)
        return base

    def _tidy(self, tape: Tape) -> None:
        """Save cursors that have gone far, leave partitions in which nothing waits any more."""
        now = time.monotonic()
        if now < self._next_save:
            return
        self._next_save = now + self._save_cursors
        everything = [order for orders in self._working.values() for order in orders.values()]
        moved = [Change(each.placed, each.resting) for each in everything if each.resting != each.placed.resting]
        if moved:
            standing, lost = book.change(moved)
            for order_id, placed in standing.items():
                self._working[self._code_of[order_id]][order_id].placed = placed
            for order_id in lost:
                self._forget(order_id)
            self.admit(book.working(lost))
        for place in {place for each in everything for place in each.places}:
            self._last_used[place] = now
        for place in tape.places:
            if now - self._last_used.setdefault(place, now) > _LINGER:
                tape.leave(place)
                del self._last_used[place]

    def _forget(self, order_id: str) -> None:
        code = self._code_of.pop(order_id, None)
        if code is not None:
            orders = self._working[code]
            orders.pop(order_id, None)
            if not orders:
                del self._working[code]

    def _gap(self, place: Place, wanted: int, found: int) -> None:
        self._alerter.raise_alert(
            "data_gap",
            "critical",
            f"The exchange wants {place[0]}:{place[1]} from offset {wanted}, the log has it from {found}: "
            "it goes on from there, orders may miss ticks",
            topic=place[0],
            partition=place[1],
            wanted=wanted,
            found=found,
        )
