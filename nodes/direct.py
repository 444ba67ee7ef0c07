"""Orders that go straight to an engine while Kafka does not take them (`policy.degraded_send`).

Nothing of "write before speak" changes: what is offered here is in a committed checkpoint, and under the node's lease.
Each order is given to Kafka too, as ever. Kafka's copy and this one have the same id, so whichever comes second is a
repetition. What goes straight is forgotten here once an engine has it in its books, or when its portfolio must send it
again anyway; a crash forgets it all, and the successor sends again what was not answered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from market.alerting import Alerter
from market.direct import MOST_MESSAGES, NO_USE
from market.messages import OrderCancel, OrderMessage, id_of
from nodes.lease import Lease
from nodes.thread import NodeThread
from portfolios.kernel.orders import Intent, Order
from portfolios.kernel.portfolio import Portfolio

log = logging.getLogger(__name__)

_LOOK = 0.1
_IDLE = 1.0
_BACK_OFF = 1.0
_MOST = 10_000
_LINGER = 30.0
"""Seconds after an order went straight in which its answer is looked for in the database too."""

Ask = Callable[[Sequence[OrderMessage]], Mapping[str, str]]
"""Brings messages to the engines: outcome by id, of those that one of them has dealt with. Raises nothing of theirs."""


def may_go(portfolio: Portfolio, intents: Iterable[Intent]) -> frozenset[str]:
    """Which of these, by id, the portfolio's policy lets go straight: none, cancels and orders that reduce a position,
    or all.
    """
    policy = portfolio.config.policy.degraded_send
    if policy == "off":
        return frozenset()
    if policy == "all":
        return frozenset(each.order_id if isinstance(each, Order) else each.cancel_id for each in intents)
    closing = {each.order.order_id for each in portfolio.open_orders() if each.closes}
    return frozenset(
        each.order_id if isinstance(each, Order) else each.cancel_id
        for each in intents
        if not isinstance(each, Order) or each.order_id in closing
    )


@dataclass
class _Offer:
    message: OrderMessage
    term: int
    due: float
    until: float


class Straight(NodeThread):
    """Takes offers from any thread and never holds one up. `away` says that Kafka does not answer at all.

    `after`: seconds that Kafka has to confirm an order before it goes straight; `keep`: seconds after which its
    portfolio sends it again anyway.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        away: Callable[[], bool],
        lease: Lease,
        alerter: Alerter,
        after: float,
        keep: float,
    ) -> None:
        super().__init__(name)
        self._ask = ask
        self._away = away
        self._lease = lease
        self._alerter = alerter
        self._after = after
        self._keep = keep
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._offers: dict[str, _Offer] = {}
        self._done: dict[str, tuple[int, float]] = {}
        self._not_before = 0.0
        self._went = float("-inf")
        self.sent = 0

    @property
    def active(self) -> bool:
        """Kafka is away, or orders went around it just now: answers may be in the database alone."""
        return self._away() or time.monotonic() - self._went < _LINGER

    @property
    def waiting(self) -> int:
        return len(self._offers)

    def offer(self, message: OrderMessage, term: int) -> None:
        """It is being given to Kafka, in the lease's `term`: should that fail, it may go straight."""
        name, now = id_of(message), time.monotonic()
        with self._lock:
            epoch, at = self._done.get(name, (-1, 0.0))
            if epoch == message.epoch and now - at < self._keep:
                return  # an engine has it: its answer is under way
            known = self._offers.pop(name, None)
            due = min(now + self._after, known.due if known is not None else float("inf"))
            self._offers[name] = _Offer(message, term, due, now + self._keep)
            if len(self._offers) > _MOST:
                del self._offers[next(iter(self._offers))]  # its portfolio offers it again
        if self._away():
            self._wake.set()

    def delivered(self, name: str) -> None:
        """Kafka has it."""
        with self._lock:
            offer = self._offers.get(name)
            if offer is None:
                return
            if isinstance(offer.message, OrderCancel) and offer.message.order_id in self._offers:
                offer.due = float("inf")  # it goes before its order, should that go straight: see _due
            else:
                del self._offers[name]

    def failed(self, name: str) -> None:
        """Kafka has not taken it, and will not."""
        with self._lock:
            offer = self._offers.get(name)
            if offer is None:
                return
            offer.due = 0.0
        self._wake.set()

    def request_stop(self) -> None:
        super().request_stop()
        self._wake.set()

    def work(self) -> None:
        while not self.stopping.is_set():
            self._wake.wait(_LOOK if self._offers else _IDLE)
            self._wake.clear()
            self.step(time.monotonic())

    def step(self, now: float) -> int:
        """Bring an engine what is due, in its order; how many it now has."""
        batch = self._due(now)
        if not batch:
            return 0
        outcomes = self._ask(batch)
        with self._lock:
            for message in batch:
                name = id_of(message)
                if name in outcomes:
                    self._offers.pop(name, None)
                    self._done.pop(name, None)
                    self._done[name] = (message.epoch, now)
            while len(self._done) > _MOST:
                del self._done[next(iter(self._done))]
        for message in batch:
            if (outcome := outcomes.get(id_of(message))) is not None:
                level = logging.WARNING if outcome in NO_USE else logging.INFO
                log.log(
                    level, "%s of portfolio %s went straight to the engine: %s", _named(message), message.portfolio_id,
                    outcome,
                )  # fmt: skip
        if outcomes:
            self._went = time.monotonic()
            self.sent += len(outcomes)
        if len(outcomes) < len(batch):
            self._not_before = time.monotonic() + _BACK_OFF
            self._alerter.raise_alert(
                "orders_stuck",
                "critical",
                f"Neither Kafka nor an engine takes {len(batch) - len(outcomes)} orders that may not wait; trying on",
                at_most_every=60,
            )
        return len(outcomes)

    def _due(self, now: float) -> list[OrderMessage]:
        """The oldest offers that are due. Asked of the lease here, at the last moment, as before every send.

        A cancel comes before the order that it is of, so that it cannot trade in between.
        """
        if not self._offers or now < self._not_before:
            return []
        away = self._away()
        with self._lock:
            for name in [name for name, each in self._offers.items() if each.until < now]:
                del self._offers[name]
            due = {name for name, each in self._offers.items() if away or each.due <= now}
            going = [
                each
                for name, each in self._offers.items()
                if name in due or (isinstance(each.message, OrderCancel) and each.message.order_id in due)
            ][:MOST_MESSAGES]
            going.sort(key=lambda each: not isinstance(each.message, OrderCancel))
            valid, term = self._lease.valid, self._lease.term
            return [each.message for each in going if valid and each.term == term]


def _named(message: OrderMessage) -> str:
    return f"Order {message.order_id}" if id_of(message) == message.order_id else f"The cancel of {message.order_id}"
