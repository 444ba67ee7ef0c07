"""The trading desk: brings orders and cancels from the books to the broker, and its answers back (SPEC M2, M3).

Every state that a crash can leave behind is one that `resolve` understands:
1. taken in (SENDING), not yet at the broker: the broker is asked, has never heard of it, gets it;
2. at the broker, its acceptance not yet booked: the broker is asked, its report is booked;
3. filled at the broker, the fill not yet booked: the same;
4. booked, not yet told: the outbox has it.

While Kafka is away several engines may look after the same order (`market.submissions.Partitions.cares_for`). Asking,
booking and cancelling it are safe at once and repeated. Only 1. is not: what one engine is just sending another must
not end, nor send too. So of an order that it did not take in itself, in a portfolio that may be another's, the broker
must have said for `_GRACE` seconds, on this engine's own clock, that it has never heard before it counts as unsent:
longer than a sender needs who lives. Should one have been frozen for longer, and its order have been ended meanwhile,
that is cancelled as soon as it works.

An order about which the broker cannot tell stays as it is, alerted now and then, until it can or an operator decides
(`market.engine.decisions`); all others go on. So does one that the broker does not take, and one whose report our books
do not: what is wrong with one order stops nobody else's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from django.db import DataError, IntegrityError
from django.db import Error as DatabaseError

from market import switch
from market.brokers.port import Broker, BrokerUnavailable, CannotTell, Report, Ticket
from market.engine.asking import Answer, ask
from market.engine.books import OPEN, Books, Profile
from market.engine.cancelling import Cancelled, Canceller, Wish
from market.engine.intake import Intake, Outcome, Taken, as_kernel
from market.engine.recording import Booked, end_unsent, record
from market.engine.voice import Voice
from market.messages import OrderMessage
from market.models import CancelRequest, Order
from market.models.order import OrderState

log = logging.getLogger(__name__)

T = TypeVar("T")

_PART = 500
_GRACE = 30.0
_CANCEL_AGAIN = 10.0
_PROMPT = 5.0
"""Seconds from the look at an order until it is with the broker. Whoever was frozen for longer in between may have been
succeeded, for which a group waits ten, and its successor may have sent the order."""
_UNCONFIRMED = (OrderState.NEW, OrderState.SENDING)
STOPPED = "engine_stopped"


class Desk:
    """`told` is called when there are new answers to publish; `sole` says of a portfolio that no other engine can be
    sending its orders."""

    def __init__(
        self,
        books: Books,
        intake: Intake,
        broker: Broker,
        voice: Voice,
        told: Callable[[], None],
        sole: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._books = books
        self._intake = intake
        self._broker = broker
        self._voice = voice
        self._told = told
        self._sole = sole
        # Held from an order's SENDING until the broker has it: whoever sees SENDING under this lock sees a doubt.
        self._sending = threading.Lock()
        self._sent: set[str] = set()
        """Orders that went from here, and of which the broker has not been heard yet."""
        self._unheard: dict[str, float] = {}
        """Orders that the broker says it has never heard of → since when, on the monotonic clock."""
        self._untold: set[str] = set()
        """Orders about which the broker could not tell when it was last asked, or given them."""
        self._stopped: dict[str, float] = {}
        """Of those, the ones that were cancelled because trading was stopped → when, on the monotonic clock."""
        self._canceller = Canceller(
            broker, self._doubt, lambda order, why: voice.doubt(order, f"the broker does not answer its cancel ({why})")
        )
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
            # Of a portfolio that others may serve too, only the database has all orders of the last minute.
            self._books.forget_recent({each.portfolio_id for each in messages if not self._sole(each.portfolio_id)})
            begun = time.monotonic()
            taken = self._intake.take(messages, now, straight is not None)
            self._told()
            if any(each.outcome is Outcome.REPEATED and _is_unconfirmed(each.order) for each in taken):
                self.in_doubt.set()  # taken in before, by a transaction whose end was not seen
            tickets = [
                _ticket(each.order, each.profile)
                for each in taken
                if each.outcome is Outcome.SENDING and each.order is not None and each.profile is not None
            ]
            self._sent |= {ticket.order.order_id for ticket in tickets}
            cancels = [each for each in taken if each.outcome is Outcome.CANCELLING]
            try:
                reports = self._submit(tickets, begun)
                for each in cancels:
                    wish = each.message
                    report = self._broker.cancel(wish.order_id, wish.timestamp, "cancelled", wish.cause)
                    reports += [report] if report is not None else []
                self._book(reports)
                self._sent -= {report.order_id for report in reports}
                if len(reports) < len(tickets) + len(cancels):
                    self.in_doubt.set()
            except (BrokerUnavailable, CannotTell) as error:
                log.warning("%d orders and cancels are in doubt: %s", len(tickets) + len(cancels), error)
                self.in_doubt.set()
        self._voice.speak(taken)
        return taken

    def absorb(self, order_ids: Iterable[str]) -> int:
        """Ask the broker about these orders and book what it says; how many answers that gave.

        Raises django.db.Error and BrokerUnavailable: ask again.
        """
        answers = 0
        untold: dict[str, str] = {}
        for ids in self._questions(order_ids):
            answer = ask(self._broker, ids)
            answers += self._book([answer.known[each] for each in ids if each in answer.known])
            untold |= answer.untold
            if any(each in self._untold and each not in answer.untold for each in ids):
                self.in_doubt.set()  # it can tell now
        if untold:
            with self._sending:  # so that none is just being sent
                rows = list(Order.objects.filter(order_id__in=list(untold), state__in=OPEN))
                new = [each for each in rows if each.order_id not in self._untold]
                answers += self._book(list(self._ask(new).known.values()))
            for order in rows:
                if order not in new:
                    self._doubt(order, untold[order.order_id])
        return answers

    def resolve(self, mine: Callable[[str], bool]) -> None:
        """Settle every doubt about the open orders of the portfolios that are `mine`, and follow them from here on.

        Raises django.db.Error and BrokerUnavailable: doubts remain, call it again.
        """
        with self._sending:
            self._books.forget_recent()
            everything = self._open(mine)
            ids = {order.order_id for order in everything}
            self._sent &= ids
            self._untold &= ids
            self._canceller.forget_all_but(ids)
            if not everything:
                self.in_doubt.clear()
                return
            answer = self._ask(everything)
            known = answer.known
            orders = [order for order in everything if order.order_id not in answer.untold]
            self._book(list(known.values()))
            never_heard = [order for order in orders if order.order_id not in known]
            unsent = self._unsent([order for order in never_heard if order.state in _UNCONFIRMED])
            for order in never_heard:
                if order.state not in _UNCONFIRMED:
                    self._voice.doubt(order, "the broker had accepted it, but does not know it any more")
            settled = True
            if unsent:
                log.info("%d orders had not reached the broker", len(unsent))
                settled = self._send_or_end(unsent)
            working = [order_id for order_id, report in known.items() if report.state == "working"]
            self._broker.follow([*working, *answer.untold])
            self._cancel_as_asked(everything)
            if settled:
                self.in_doubt.clear()

    def halt(self, mine: Callable[[str], bool], now: datetime) -> int:
        """The switch is off: cancel what works; how many orders are still working or in doubt after it.

        Raises django.db.Error and BrokerUnavailable: repeat it.
        """
        with self._sending:
            orders = self._open(mine)
            if not orders:
                return 0
            # What it could not tell about, it is asked by the sweep: the others do not wait for that.
            answer = self._ask([each for each in orders if each.order_id not in self._untold])
            known = answer.known
            working = [each for each in orders if each.order_id in known and known[each.order_id].state == "working"]
            cancelled = self._canceller.cancel([Wish(each, now, STOPPED) for each in working])
            self._book([cancelled.known.get(order_id) or report for order_id, report in known.items()])
            doubtful = self._stop_untold([each for each in orders if each.order_id in self._untold], now)
            never_heard = [e for e in orders if e.order_id not in known and e.order_id not in self._untold]
            unsent = self._unsent([each for each in never_heard if each.state in _UNCONFIRMED])
            if unsent and end_unsent(unsent, STOPPED):
                self._told()
            if (silence := cancelled.silence or doubtful.silence) is not None:
                raise silence
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

    def _unsent(self, never_heard: Sequence[Order]) -> list[Order]:
        """Of unconfirmed orders of which the broker has never heard, all there are, those that nobody is sending."""
        now = time.monotonic()
        since = {each.order_id: self._unheard.get(each.order_id, now) for each in never_heard}
        self._unheard = since
        return [
            each
            for each in never_heard
            if self._sole(each.portfolio_id) or each.order_id in self._sent or now - since[each.order_id] >= _GRACE
        ]

    def _ask(self, orders: Iterable[Order]) -> Answer:
        """What the broker says of these orders; what it cannot say is alerted. None of them is just being sent."""
        by_id = {order.order_id: order for order in orders}
        answer = Answer()
        for ids in self._questions(by_id):
            part = ask(self._broker, ids)
            answer.known |= part.known
            answer.untold |= part.untold
        self._untold = (self._untold - by_id.keys()) | answer.untold.keys()
        for order_id, why in answer.untold.items():
            self._doubt(by_id[order_id], why)
        return answer

    def _questions(self, order_ids: Iterable[str]) -> list[list[str]]:
        """In which parts to ask about them: what it could not tell about does not spoil the others' question again."""
        untold = self._untold
        alike: dict[bool, list[str]] = {False: [], True: []}
        for each in order_ids:
            alike[each in untold].append(each)
        return [*_parts(alike[False]), *([each] for each in alike[True])]

    def _doubt(self, order: Order, why: str) -> None:
        what = "whether it has it" if order.state in _UNCONFIRMED else "what has become of it"
        self._voice.doubt(
            order,
            f"the broker cannot say {what} ({why or 'it does not say why'}). Ask it by other means, and say what it "
            f"answers with 'ginkgo engine decide {order.order_id}'",
        )

    def _stop_untold(self, orders: Sequence[Order], now: datetime) -> Cancelled:
        """They may be working, so they are cancelled too; again every now and then, for they may be so for days."""
        clock = time.monotonic()
        self._stopped = {each.order_id: at for each in orders if (at := self._stopped.get(each.order_id)) is not None}
        due = [each for each in orders if clock - self._stopped.get(each.order_id, float("-inf")) >= _CANCEL_AGAIN]
        cancelled = self._canceller.cancel([Wish(each, now, STOPPED) for each in due])
        self._stopped |= dict.fromkeys(cancelled.known, clock)
        self._book(cancelled.reports)
        return cancelled

    def _submit(self, tickets: Sequence[Ticket], begun: float) -> list[Report]:
        """Bring the broker orders that nobody had sent at `begun`; too late, they stay in doubt: it is asked first.

        Should this process be frozen between this look at its clock and the broker, the broker is handed one once more
        that it has from a successor: by its id it is one order (see `Broker.submit`).
        """
        if tickets and time.monotonic() - begun > _PROMPT:
            log.warning("%d orders were not sent in time: the broker is asked whether it has them", len(tickets))
            self.in_doubt.set()
            return []
        return self._broker.submit(tickets) if tickets else []

    def _send_or_end(self, unsent: Sequence[Order]) -> bool:
        """Whether that settles them all; if not, they stay in doubt."""
        if not switch.is_on():
            if end_unsent(unsent, STOPPED):
                self._told()
            return True
        profiles = self._books.profiles(order.portfolio_id for order in unsent)
        settled = True
        for part in _parts(list(unsent)):
            # Asked once more, for the many questions about all orders may have taken long.
            begun = time.monotonic()
            answer = self._ask(part)
            left = [each for each in part if each.order_id not in answer.known and each.order_id not in answer.untold]
            reports = self._hand_over(left, [_ticket(each, profiles[each.portfolio_id]) for each in left], begun)
            self._book([*answer.known.values(), *reports])
            reported = {report.order_id for report in reports}
            settled &= all(each.order_id in reported or each.order_id in self._untold for each in left)
        return settled

    def _hand_over(self, orders: Sequence[Order], tickets: Sequence[Ticket], begun: float) -> list[Report]:
        """Submit them; one that the broker chokes on is in doubt, and tried again with the next sweep.

        Given once more, apart from it, the others are to the broker the orders that it may have already.
        """
        try:
            return self._submit(tickets, begun)
        except Exception as error:
            if not _is_the_orders(error):
                raise
            if len(orders) == 1:
                if not isinstance(error, CannotTell):
                    log.exception("Order %s cannot be given to the broker", orders[0].order_id)
                self._untold |= {orders[0].order_id}
                self._doubt(orders[0], str(error))
                return []
        middle = len(orders) // 2
        left = self._hand_over(orders[:middle], tickets[:middle], begun)
        return left + self._hand_over(orders[middle:], tickets[middle:], begun)

    def _cancel_as_asked(self, orders: Sequence[Order]) -> None:
        """Cancels that a crash kept from the broker."""
        by_id = {order.order_id: order for order in orders}
        wishes = CancelRequest.objects.filter(order_id__in=list(by_id), done=False)
        cancelled = self._canceller.cancel(
            [Wish(by_id[each.order_id], each.event_time, "cancelled", each.cause) for each in wishes]
        )
        self._book(cancelled.reports)
        if cancelled.silence is not None:
            raise cancelled.silence

    def _book(self, reports: list[Report]) -> int:
        answers = 0
        for part in _parts(reports):
            booked = self._record(part)
            answers += booked.answers
            for each in booked.wrong:
                self._voice.contradiction(each)
            answers += self._end_at_the_broker(booked.ended)
        if answers:
            self._told()
        return answers

    def _record(self, reports: Sequence[Report]) -> Booked:
        """Book them; one that our books cannot hold (a fill's id that is another's) is alerted, and the others are."""
        try:
            return record(reports, self._broker.name)
        except (DataError, IntegrityError) as error:
            if len(reports) == 1:
                log.exception("What the broker reports of order %s cannot be booked", reports[0].order_id)
                for order in Order.objects.filter(order_id=reports[0].order_id):
                    self._voice.doubt(order, f"what the broker reports of it cannot be booked: {error}")
                return Booked(0, [], [])
        middle = len(reports) // 2
        left, right = self._record(reports[:middle]), self._record(reports[middle:])
        return Booked(left.answers + right.answers, left.wrong + right.wrong, left.ended + right.ended)

    def _end_at_the_broker(self, ended: Sequence[Order]) -> int:
        """What our books have ended must not trade; what it has traded is booked. How many answers that gave."""
        for order in ended:
            log.warning("Order %s has ended in our books, and works at the broker: cancelling it", order.order_id)
        cancelled = self._canceller.cancel(
            [Wish(order, order.event_time, order.reason or "cancelled") for order in ended]
        )
        answers = self._record(cancelled.reports).answers if cancelled.reports else 0
        if cancelled.silence is not None:
            raise cancelled.silence
        return answers


def _is_the_orders(error: Exception) -> bool:
    """It comes of what is asked for, not of a server that is away."""
    if isinstance(error, DatabaseError):
        return isinstance(error, (DataError, IntegrityError))
    return not isinstance(error, BrokerUnavailable)


def _ticket(order: Order, profile: Profile) -> Ticket:
    return Ticket(as_kernel(order), profile.market, order.code in profile.st)


def _is_unconfirmed(order: Order | None) -> bool:
    return order is not None and order.state in _UNCONFIRMED


def _parts(things: list[T]) -> Iterator[list[T]]:
    """In transactions and statements of a bounded size."""
    for start in range(0, len(things), _PART):
        yield things[start : start + _PART]
