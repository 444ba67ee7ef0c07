"""Asking the broker what it knows of orders, so that one it cannot tell about does not hide all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from market.brokers.port import CannotTell, Report


class Asked(Protocol):
    """The part of `market.brokers.port.Broker` that is needed here."""

    def query(self, order_ids: Sequence[str]) -> dict[str, Report]: ...


@dataclass
class Answer:
    """`known` by order id, and `untold`: the orders about which the broker cannot tell, with what it says instead.

    An order that is in neither was never received.
    """

    known: dict[str, Report] = field(default_factory=dict)
    untold: dict[str, str] = field(default_factory=dict)


def ask(broker: Asked, order_ids: Sequence[str]) -> Answer:
    """What `broker` says of these orders. Raises BrokerUnavailable.

    It refuses a whole question for one order, without saying which: it is asked again in halves.
    """
    try:
        return Answer(broker.query(order_ids)) if order_ids else Answer()
    except CannotTell as error:
        if len(order_ids) == 1:
            return Answer(untold={order_ids[0]: str(error)})
    middle = len(order_ids) // 2
    left, right = ask(broker, order_ids[:middle]), ask(broker, order_ids[middle:])
    return Answer(left.known | right.known, left.untold | right.untold)
