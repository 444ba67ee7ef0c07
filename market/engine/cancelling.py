"""Asking the broker for cancels, so that one which it does not answer does not keep it from all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from market.brokers.port import BrokerUnavailable, CannotTell, Report
from market.models import Order

_GIVE_UP = 3
"""So many cancels one after the other that the broker does not answer are its silence, not the orders'."""


class Asked(Protocol):
    """The part of `market.brokers.port.Broker` that is needed here."""

    def cancel(self, order_id: str, at: datetime, reason: str, cause: str = "") -> Report | None: ...


class Wish(NamedTuple):
    """That an order be cancelled; `at` is an event time."""

    order: Order
    at: datetime
    reason: str
    cause: str = ""


@dataclass
class Cancelled:
    """`known` by order id, None where nothing is or can be told; an order that is not in it was not cancelled, because
    of `silence`."""

    known: dict[str, Report | None] = field(default_factory=dict)
    silence: BrokerUnavailable | None = None

    @property
    def reports(self) -> list[Report]:
        return [each for each in self.known.values() if each is not None]


class Canceller:
    """Of an order about which the broker cannot tell, `untold` is told, and of one about which it is silent repeatedly,
    `silent`; each with what the broker says."""

    def __init__(
        self, broker: Asked, untold: Callable[[Order, str], None], silent: Callable[[Order, str], None]
    ) -> None:
        self._broker = broker
        self._untold = untold
        self._silent = silent
        self._unanswered: set[str] = set()

    def cancel(self, wishes: Iterable[Wish]) -> Cancelled:
        """Ask for all of them; those that were not answered the last time after all others."""
        done = Cancelled()
        in_a_row = 0
        for order, at, reason, cause in sorted(wishes, key=lambda wish: wish.order.order_id in self._unanswered):
            try:
                done.known[order.order_id] = self._broker.cancel(order.order_id, at, reason, cause)
            except CannotTell as error:
                done.known[order.order_id] = None
                self._untold(order, str(error))
            except BrokerUnavailable as error:
                if order.order_id in self._unanswered:
                    self._silent(order, str(error))
                self._unanswered.add(order.order_id)
                done.silence = error
                in_a_row += 1
                if in_a_row == _GIVE_UP:
                    break
                continue
            in_a_row = 0
            self._unanswered.discard(order.order_id)
        return done

    def forget_all_but(self, order_ids: set[str]) -> None:
        """All other orders are over."""
        self._unanswered &= order_ids
