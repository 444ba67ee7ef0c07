"""The submission transaction: whose order is it, is it new, may it trade, all decided and written at once (SPEC M2).

`Intake.take` is a function of messages and the moment. In one transaction, and under the locks of the portfolios
concerned, it reads what the messages touch, decides about each in turn, and writes. After a crash at any instruction
either nothing of it is there, or all: the message is then read again and found to be a duplicate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec

from market import pretrade, switch
from market.engine.account import Commitments
from market.engine.books import Books, Profile
from market.engine.causes import Causes
from market.engine.feedback import Answers, tell_again
from market.engine.transactions import writing
from market.messages import OrderCancel, OrderMessage, OrderSubmission, encode, id_of
from market.models import CancelRequest, FencedMessage, LogDebt, Order
from market.models.order import TERMINAL, OrderState
from portfolios.kernel import orders as kernel
from portfolios.kernel.money import to_decimal, to_units

_MOST = 10**12


class Outcome(StrEnum):
    """What one message came to."""

    SENDING = "sending"  # an order that the broker gets next
    REJECTED = "rejected"
    TOMBSTONED = "tombstoned"  # an order that had been cancelled before it came
    CANCELLING = "cancelling"  # a cancel that the broker gets next
    AWAITED = "awaited"  # a cancel of an order that is yet to come
    REPEATED = "repeated"  # known: what was answered is published again
    CONFLICT = "conflict"  # a known id with other contents
    FENCED = "fenced"  # of an owner that is not, or no longer, the portfolio's
    UNKNOWN = "unknown"  # of a portfolio that does not exist
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Taken:
    """One message, what it came to, and why; `order` is the row of an order that is now the engine's."""

    message: OrderMessage
    outcome: Outcome
    reason: str = ""
    order: Order | None = None
    profile: Profile | None = None


class Market(Protocol):
    """What the checks ask the broker (`market.brokers.port.Broker`)."""

    @property
    def follows_the_log(self) -> bool: ...
    def quote(self, code: str) -> pretrade.Quote | None: ...
    def moment(self, code: str) -> datetime | None: ...


@dataclass
class _Known:
    """What is already in the books of all that the messages touch; kept up to date as they are decided."""

    on: bool
    profiles: dict[str, Profile]
    orders: dict[str, Order]
    cancels: dict[str, CancelRequest]
    tombstones: dict[str, CancelRequest]
    commitments: dict[str, Commitments]
    recent: Counter[str]
    siblings: dict[str, dict[str, Profile]] = field(default_factory=dict)
    elsewhere: Counter[str] = field(default_factory=Counter)
    """Orders of the last minute by account, of its portfolios that have none among the messages."""
    new_orders: list[Order] = field(default_factory=list)
    new_cancels: list[CancelRequest] = field(default_factory=list)
    buried: list[CancelRequest] = field(default_factory=list)
    fenced: list[FencedMessage] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    """New orders by portfolio, for its order rate."""


class Intake:
    """`broker` is the name that goes into the books."""

    def __init__(
        self, books: Books, limits: pretrade.Limits, market: Market, broker: str, causes: Causes | None = None
    ) -> None:
        """`causes`: where the price behind an order is found, when the market has seen none of its code."""
        self._books = books
        self._causes = causes
        self._limits = limits
        self._market = market
        self._broker = broker

    def look_up(self, messages: Sequence[OrderMessage]) -> None:
        """Read from the log the prices behind market orders of codes that the market has seen none of.

        It may take seconds: call it before `take`, with no lock held, and from one thread.
        """
        if self._causes is None:
            return
        sound = [each for each in messages if isinstance(each, OrderSubmission) and fault(each) is None]
        self._causes.learn(each for each in sound if each.price is None and self._market.quote(each.code) is None)

    def take(self, messages: Sequence[OrderMessage], now: datetime, straight: bool = False) -> list[Taken]:
        """Take messages into the books, in their order. Raises django.db.Error: then none of them was taken.

        What came `straight` from a node is owed to the log from then on.
        """
        sound = [message for message in messages if fault(message) is None]
        with writing():
            # The locks first: an epoch read before waiting for one could be stale when it is had.
            answers = Answers(message.portfolio_id for message in sound)
            profiles = self._books.profiles(answers.portfolio_ids)
            known = self._read(sound, profiles, now)
            taken = [self._decide(message, known, answers, now) for message in messages]
            self._write(known, answers)
            if straight:
                _owe_to_the_log(known, messages, now)
        # Not before it is done: what is rolled back, and tried again, is no second order.
        for portfolio_id, count in known.asked.items():
            self._books.count_orders(portfolio_id, count, now)
        return taken

    def _read(self, messages: Sequence[OrderMessage], profiles: dict[str, Profile], now: datetime) -> _Known:
        order_ids = {message.order_id for message in messages}
        cancel_ids = {message.cancel_id for message in messages if isinstance(message, OrderCancel)}
        trading = {m.portfolio_id: profiles[m.portfolio_id] for m in messages if m.portfolio_id in profiles}
        requests = CancelRequest.objects.filter(order_id__in=order_ids, done=False).order_by()
        return _Known(
            on=switch.is_on(),
            profiles=profiles,
            orders=Order.objects.order_by().in_bulk(list(order_ids)),
            cancels=CancelRequest.objects.in_bulk(list(cancel_ids)) if cancel_ids else {},
            tombstones={row.order_id: row for row in requests},
            commitments=self._books.commitments(trading),
            recent=Counter({each: self._books.orders_in_last_minute(each, now) for each in trading}),
        )

    def _decide(self, message: OrderMessage, known: _Known, answers: Answers, now: datetime) -> Taken:
        if (wrong := fault(message)) is not None:
            return Taken(message, Outcome.MALFORMED, wrong)
        profile = known.profiles.get(message.portfolio_id)
        if profile is None:
            return Taken(message, Outcome.UNKNOWN)
        if message.epoch != profile.epoch and not _taken_before(message, known):
            known.fenced.append(_fencing(message, profile, now))
            return Taken(message, Outcome.FENCED, f"epoch {message.epoch}, not {profile.epoch}", profile=profile)
        if isinstance(message, OrderCancel):
            return _cancel(message, profile, known, now)
        order = known.orders.get(message.order_id)
        if order is not None:
            return _repeated(message, order, profile, known)
        return self._new(message, profile, known, answers, now)

    def _new(self, message: OrderSubmission, profile: Profile, known: _Known, answers: Answers, now: datetime) -> Taken:
        order = Order(
            order_id=message.order_id,
            portfolio_id=message.portfolio_id,
            epoch=message.epoch,
            code=message.code,
            direction=message.direction,
            order_type=message.order_type,
            volume=message.volume,
            price=_price(message),
            cause=message.cause,
            event_time=message.timestamp,
            received_at=now,
            broker=self._broker,
            reserved=Decimal(0),
        )
        known.orders[order.order_id] = order
        known.new_orders.append(order)
        tombstone = known.tombstones.get(order.order_id)
        if tombstone is not None and tombstone.portfolio_id == order.portfolio_id:
            order.state, order.reason = OrderState.CANCELLED, "cancelled"
            known.buried.append(tombstone)
            answers.tell(order, "order_cancelled", tombstone.event_time, reason=order.reason)
            return Taken(message, Outcome.TOMBSTONED, order.reason, order, profile)
        reason = self._check(message, order, profile, known, now)
        known.recent[order.portfolio_id] += 1
        known.asked[order.portfolio_id] += 1
        if reason is not None:
            order.state, order.reason = OrderState.REJECTED, reason
            answers.tell(order, "order_rejected", order.event_time, reason=reason)
            return Taken(message, Outcome.REJECTED, reason, order, profile)
        # NEW and SENDING in one step: that the switch is on and that it may be sent are one transaction.
        order.state = OrderState.SENDING
        known.commitments[order.portfolio_id].add(self._books.pending(order, profile))
        return Taken(message, Outcome.SENDING, "", order, profile)

    def _check(
        self, message: OrderSubmission, order: Order, profile: Profile, known: _Known, now: datetime
    ) -> str | None:
        rules = self._books.rulebook(profile.market)
        asked = as_kernel(order)
        quote = self._quote(order.code)
        account = self._books.account(profile)
        account.mark(self._price_of)
        around = pretrade.Surroundings(
            on=known.on,
            market=profile.market,
            rules=rules,
            account=account,
            commitments=known.commitments[order.portfolio_id],
            limits=self._limits,
            recent_orders=known.recent[order.portfolio_id],
            quote=quote,
            moment=self._market.moment(order.code),
            follows_the_log=self._market.follows_the_log,
            st=order.code in profile.st,
            at_its_broker=profile.broker == self._broker,
            shared=self._shared(asked, profile, known, now),
        )
        reason = pretrade.check(asked, around)
        if reason is None and rules is not None:
            order.reserved = to_decimal(pretrade.reservation(asked, quote, rules))
        return reason

    def _quote(self, code: str) -> pretrade.Quote | None:
        quote = self._market.quote(code)
        return quote if quote is not None or self._causes is None else self._causes.quote(code)

    def _price_of(self, code: str) -> int | None:
        quote = self._quote(code)
        return None if quote is None else quote.price

    def _shared(self, order: kernel.Order, profile: Profile, known: _Known, now: datetime) -> pretrade.Shared | None:
        """What the account's portfolios have used of its limits; those of other engines as of their last commit."""
        rules = self._books.rulebook(profile.market)
        if profile.limits is None or rules is None:
            return None
        siblings = known.siblings.get(profile.account_id)
        if siblings is None:
            siblings = known.siblings[profile.account_id] = self._books.siblings(profile.account_id)
            others = {id_: each for id_, each in siblings.items() if id_ not in known.commitments}
            known.commitments.update(self._books.commitments(others))
            known.elsewhere[profile.account_id] = self._books.orders_of_others_in_last_minute(others, now)
        session = rules.order_session(order.timestamp).ordinal
        return replace(
            profile.limits,
            recent_orders=known.elsewhere[profile.account_id] + sum(known.recent[id_] for id_ in siblings),
            turnover=sum(
                self._books.account(each).turnover(session) + known.commitments[id_].value(session)
                for id_, each in siblings.items()
            ),
        )

    @staticmethod
    def _write(known: _Known, answers: Answers) -> None:
        if known.again:
            tell_again(known.again)
        if known.new_orders:
            Order.objects.bulk_create(known.new_orders)
        if known.new_cancels:
            CancelRequest.objects.bulk_create(known.new_cancels)
        for row in known.buried:
            row.done = True
            row.save(update_fields=["done"])
        if known.fenced:
            FencedMessage.objects.bulk_create(known.fenced, ignore_conflicts=True)
        answers.save()


def _owe_to_the_log(known: _Known, messages: Sequence[OrderMessage], now: datetime) -> None:
    """What is new to the books is yet to stand in the log, of which the books are an image."""
    new = {each.order_id for each in known.new_orders} | {each.cancel_id for each in known.new_cancels}
    by_id = {id_of(each): each for each in reversed(messages)}
    LogDebt.objects.bulk_create(
        [
            LogDebt(
                message_id=message_id,
                portfolio_id=message.portfolio_id,
                message=encode(message).decode(),
                received_at=now,
            )
            for message_id, message in reversed(by_id.items())
            if message_id in new
        ]
    )


def as_kernel(order: Order) -> kernel.Order:
    """A row of the books as the kernel and the brokers take it."""
    return kernel.Order(
        order_id=order.order_id,
        portfolio_id=order.portfolio_id,
        code=order.code,
        direction=order.direction,
        order_type="market" if order.order_type == "market" else "limit",
        volume=order.volume,
        price=None if order.price is None else float(order.price),
        cause=order.cause,
        timestamp=order.event_time,
    )


def fault(message: OrderMessage) -> str | None:
    """What makes a message one that cannot be kept in the books, or None. Anything else gets an answer."""
    ids = [message.order_id, message.portfolio_id]
    if isinstance(message, OrderCancel):
        ids.append(message.cancel_id)
    for each in ids:
        try:
            if str(UUID(each)) != each:
                return f"{each!r} is not an id as we write them"
        except ValueError:
            return f"{each!r} is not an id"
    if message.timestamp.tzinfo is None:
        return "its timestamp has no time zone"
    if not 1990 <= message.timestamp.year < 2200:
        return f"{message.timestamp} is not a time of any market"
    if len(message.cause) > 200 or not _is_place(message.cause):
        return f"{message.cause[:60]!r} is not a cause (topic:partition:offset:n)"
    if not 0 <= message.epoch < _MOST:
        return f"{message.epoch} is not an epoch"
    if isinstance(message, OrderSubmission):
        if not 0 <= message.volume <= _MOST:
            return f"{message.volume} is not a volume"
        if message.price is not None and not (math.isfinite(message.price) and abs(message.price) <= _MOST):
            return f"{message.price} is not a price"
        if len(message.code) > 20:
            return f"{message.code[:30]!r} is not a code"
    return None


def _taken_before(message: OrderMessage, known: _Known) -> bool:
    """Whether its owner of then had it accepted: a crash made the engine read it again, after the epoch had gone on."""
    if isinstance(message, OrderCancel):
        cancel = known.cancels.get(message.cancel_id)
        return cancel is not None and cancel.epoch == message.epoch
    order = known.orders.get(message.order_id)
    return order is not None and order.epoch == message.epoch


def _cancel(message: OrderCancel, profile: Profile, known: _Known, now: datetime) -> Taken:
    order = known.orders.get(message.order_id)
    request = known.cancels.get(message.cancel_id)
    if request is not None and not _same_cancel(message, request):
        return Taken(message, Outcome.CONFLICT, f"cancel {message.cancel_id} with other contents", profile=profile)
    if order is not None and order.portfolio_id != message.portfolio_id:
        return Taken(message, Outcome.CONFLICT, f"order {order.order_id} is another portfolio's", profile=profile)
    over = order is not None and order.state in TERMINAL
    if request is None:
        request = CancelRequest(
            cancel_id=message.cancel_id,
            order_id=message.order_id,
            portfolio_id=message.portfolio_id,
            epoch=message.epoch,
            cause=message.cause,
            event_time=message.timestamp,
            received_at=now,
            done=over,
        )
        known.cancels[message.cancel_id] = request
        known.new_cancels.append(request)
    if order is None:
        known.tombstones[message.order_id] = request
        return Taken(message, Outcome.AWAITED, profile=profile)
    if over:
        known.again.add(order.order_id)
        return Taken(message, Outcome.REPEATED, "", order, profile)
    return Taken(message, Outcome.CANCELLING, "", order, profile)


def _repeated(message: OrderSubmission, order: Order, profile: Profile, known: _Known) -> Taken:
    if not _same_order(message, order):
        return Taken(message, Outcome.CONFLICT, f"order {order.order_id} with other contents", order, profile)
    known.again.add(order.order_id)
    return Taken(message, Outcome.REPEATED, "", order, profile)


def _same_order(message: OrderSubmission, order: Order) -> bool:
    asked = (message.portfolio_id, message.code, message.direction, message.order_type, message.volume)
    kept = (order.portfolio_id, order.code, order.direction, order.order_type, order.volume)
    same_place = (message.cause, message.timestamp) == (order.cause, order.event_time)
    return asked == kept and same_place and _price(message) == order.price


def _same_cancel(message: OrderCancel, request: CancelRequest) -> bool:
    asked = (message.portfolio_id, message.order_id, message.cause, message.timestamp)
    return asked == (request.portfolio_id, request.order_id, request.cause, request.event_time)


def _price(message: OrderSubmission) -> Decimal | None:
    return None if message.price is None else to_decimal(to_units(message.price))


def _fencing(message: OrderMessage, profile: Profile, now: datetime) -> FencedMessage:
    return FencedMessage(
        message_id=id_of(message),
        order_id=message.order_id,
        portfolio_id=message.portfolio_id,
        epoch=message.epoch,
        current_epoch=profile.epoch,
        message=msgspec.to_builtins(message),
        received_at=now,
    )


def _is_place(cause: str) -> bool:
    parts = cause.rsplit(":", 3)
    return len(parts) == 4 and bool(parts[0]) and all(part.isdecimal() and len(part) <= 18 for part in parts[1:])
