"""The trading desk: brings orders and cancels from the books to the broker, and its answers back (SPEC M2, M3).

Every state that a crash can leave behind is one that `resolve` understands:
1. taken in (SENDING), not yet at the broker: the broker is asked, has never heard of it, gets it;
2. at the broker, its acceptance not yet booked: the broker is asked, its report is booked;
3. filled at the broker, the fill not yet booked: the same;
4. booked, not yet told: the outbox has it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from market import switch
from market.brokers.port import Broker, BrokerUnavailable, CannotTell, Report, Ticket
from market.engine.books import OPEN, Books
from market.engine.intake import Intake, Outcome, Taken, as_kernel
from market.engine.recording import end_unsent, record
from market.engine.voice import Voice
from market.messages import OrderMessage
from market.models import CancelRequest, Order
from market.models.order import OrderState

log = logging.getLogger(__name__)

T = TypeVar("T")

_PART = 500
_UNCONFIRMED = (OrderState.NEW, OrderState.SENDING)
STOPPED = "engine_stopped"


class Desk:
    """`told` is called when there are new answers to publish."""

    def __init__(self, books: Books, intake: Intake, broker: Broker, voice: Voice, told: Callable[[], None]) -> None:
        self._books = books
        self._intake = intake
        self._broker = broker
        self._voice = voice
        self._told = told
        # Held from an order's SENDING until the broker has it: whoever sees SENDING under this lock sees a doubt.
        self._sending = threading.Lock()
        self.in_doubt = threading.Event()

    def receive(
        self, messages: Sequence[OrderMessage], now: datetime, straight: Callable[[str], bool] | None = None
    ) -> list[Taken]:
        """Take messages in and bring the broker what it is to get. Raises django.db.Error: nothing was taken in.

        Those that came `straight`, not by the log, are taken in only if their portfolio is one of these. If the broker
        does not answer, its orders stay in doubt (`in_doubt` is set) until `resolve`.
        """
        if straight is None:  # what comes straight does so because the log does not answer
            self._intake.look_up(messages)  # before the lock: the stop button does not wait for Kafka
        with self._sending, self._doubting():
            if straight is not None:
                messages = [each for each in messages if straight(each.portfolio_id)]
                if not messages:
                    return []
            taken = self._intake.take(messages, now, straight is not None)
            self._told()
            if any(each.outcome is Outcome.REPEATED and _is_unconfirmed(each.order) for each in taken):
                self.in_doubt.set()  # taken in before, by a transaction whose end was not seen
            tickets = [
                Ticket(as_kernel(each.order), each.profile.market, each.order.code in each.profile.st)
                for each in taken
                if each.outcome is Outcome.SENDING and each.order is not None and each.profile is not None
            ]
            cancels = [each for each in taken if each.outcome is Outcome.CANCELLING]
            try:
                reports = self._broker.submit(tickets) if tickets else []
                for each in cancels:
                    wish = each.message
                    report = self._broker.cancel(wish.order_id, wish.timestamp, "cancelled", wish.cause)
                    reports += [report] if report is not None else []
                self._book(reports)
                if len(reports) < len(tickets) + len(cancels):
                    self.in_doubt.set()
            except BrokerUnavailable as error:
                log.warning("%d orders and cancels are in doubt: %s", len(tickets) + len(cancels), error)
                self.in_doubt.set()
        self._voice.speak(taken)
        return taken

    def absorb(self, order_ids: Iterable[str]) -> int:
        """Ask the broker about these orders and book what it says; how many answers that gave.

        Raises django.db.Error and BrokerUnavailable: ask again.
        """
        return sum(self._book(self._reports(ids)) for ids in _parts(list(order_ids)))

    def resolve(self, mine: Callable[[str], bool]) -> None:
        """Settle every doubt about the open orders of the portfolios that are `mine`, and follow them from here on.

        Raises django.db.Error and BrokerUnavailable: doubts remain, call it again.
        """
        with self._sending:
            orders = self._open(mine)
            if not orders:
                self.in_doubt.clear()
                return
            known = self._ask(orders)
            if known is None:
                return
            self._book(list(known.values()))
            never_heard = [order for order in orders if order.order_id not in known]
            unsent = [order for order in never_heard if order.state in _UNCONFIRMED]
            for order in never_heard:
                if order.state not in _UNCONFIRMED:
                    self._voice.doubt(order, "the broker had accepted it, but does not know it any more")
            if unsent:
                log.info("%d orders had not reached the broker", len(unsent))
                self._send_or_end(unsent)
            self._broker.follow(order_id for order_id, report in known.items() if report.state == "working")
            self._cancel_as_asked(orders)
            self.in_doubt.clear()

    def halt(self, mine: Callable[[str], bool], now: datetime) -> int:
        """The switch is off: cancel what works; how many orders are still working or in doubt after it.

        Raises django.db.Error and BrokerUnavailable: repeat it.
        """
        with self._sending:
            orders = self._open(mine)
            if not orders:
                return 0
            known = self._ask(orders)
            if known is None:
                return len(orders)
            reports: list[Report] = []
            for order_id, report in known.items():
                ended = self._broker.cancel(order_id, now, STOPPED) if report.state == "working" else report
                reports.append(ended or report)
            self._book(reports)
            unsent = [each for each in orders if each.order_id not in known and each.state in _UNCONFIRMED]
            if unsent and end_unsent(unsent, STOPPED):
                self._told()
            return len(self._open(mine))

    def release(self, theirs: Callable[[str], bool]) -> None:
        """Another engine's from now on; what is being sent of it by another thread has been sent."""
        with self._sending:
            self._broker.unfollow(order.order_id for order in self._open(theirs))

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Whatever goes wrong inside may have happened all the same: a commit, a submission."""
        try:
            yield
        except BaseException:
            self.in_doubt.set()
            raise

    def _open(self, mine: Callable[[str], bool]) -> list[Order]:
        return [each for each in Order.objects.filter(state__in=OPEN) if mine(each.portfolio_id)]

    def _ask(self, orders: Sequence[Order]) -> dict[str, Report] | None:
        try:
            known: dict[str, Report] = {}
            for ids in _parts([order.order_id for order in orders]):
                known |= self._broker.query(ids)
            return known
        except CannotTell as error:
            for order in orders:
                if order.state in _UNCONFIRMED:
                    self._voice.doubt(order, f"the broker cannot say whether it has it ({error}): an operator decides")
            return None

    def _send_or_end(self, unsent: Sequence[Order]) -> None:
        if not switch.is_on():
            if end_unsent(unsent, STOPPED):
                self._told()
            return
        profiles = self._books.profiles(order.portfolio_id for order in unsent)
        tickets = [
            Ticket(
                as_kernel(each),
                profiles[each.portfolio_id].market,
                each.code in profiles[each.portfolio_id].st,
            )
            for each in unsent
        ]
        for part in _parts(tickets):
            self._book(self._broker.submit(part))

    def _cancel_as_asked(self, orders: Sequence[Order]) -> None:
        """Cancels that a crash kept from the broker."""
        ids = [order.order_id for order in orders]
        reports = []
        for request in CancelRequest.objects.filter(order_id__in=ids, done=False):
            report = self._broker.cancel(request.order_id, request.event_time, "cancelled", request.cause)
            reports += [report] if report is not None else []
        self._book(reports)

    def _reports(self, order_ids: Sequence[str]) -> list[Report]:
        """What the broker says of them, in the order in which it is asked."""
        known = self._broker.query(order_ids)
        return [known[order_id] for order_id in order_ids if order_id in known]

    def _book(self, reports: list[Report]) -> int:
        answers = 0
        for part in _parts(reports):
            told, wrong = record(part, self._broker.name)
            answers += told
            for each in wrong:
                self._voice.contradiction(each)
        if answers:
            self._told()
        return answers


def _is_unconfirmed(order: Order | None) -> bool:
    return order is not None and order.state in _UNCONFIRMED


def _parts(things: list[T]) -> Iterator[list[T]]:
    """In transactions and statements of a bounded size."""
    for start in range(0, len(things), _PART):
        yield things[start : start + _PART]
