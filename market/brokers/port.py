"""The port that every broker implements (SPEC M5): a new broker is one class in its own file that passes the
conformance tests under tests/market/brokers.

A broker speaks in *reports*: all that it knows about an order, from its acceptance to its last fill. The engine books
a report as often as it gets it and changes nothing the second time, so news may be late, repeated or lost, and asking
(`query`) is always a way out. Money is in units of 0.0001 of the currency (`portfolios.kernel.money`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from market.pretrade import Quote
from portfolios.kernel.orders import Order

State = Literal["working", "filled", "cancelled", "rejected"]


class BrokerError(Exception):
    """The base of what a broker may raise."""


class BrokerUnavailable(BrokerError):
    """The broker does not answer now; whether it has what was just sent is unknown until it is asked."""


class CannotTell(BrokerError):
    """This broker cannot say what has become of an order: it stays as it is until it can, or an operator decides."""


@dataclass(frozen=True)
class Ticket:
    """An order on its way to the broker, with what the exchange must know of it: market, and special treatment."""

    order: Order
    market: str
    st: bool = False


@dataclass(frozen=True)
class Execution:
    """One fill. `fill_id` is unique at this broker; `timestamp` is the trade's own time."""

    fill_id: str
    volume: int
    price: int
    amount: int
    commission: int
    tax: int
    timestamp: datetime


@dataclass(frozen=True)
class Report:
    """All that the broker knows of an order. `ended_at` and `reason` are set for cancelled and rejected ones; `seen` is
    the newest price of its code that it has met, of a broker that reads our log (`topic:partition:offset`)."""

    order_id: str
    state: State
    reason: str = ""
    ended_at: datetime | None = None
    executions: tuple[Execution, ...] = ()
    seen: str = ""

    @property
    def filled(self) -> int:
        return sum(each.volume for each in self.executions)


@dataclass(frozen=True)
class Holdings:
    """An account at the broker: cash in units, volume by code.

    Of an account on margin, `cash` is its equity less the value of its contracts (price × volume × multiplier), both at
    the same prices: like cash, that does not move with the market.
    """

    cash: int
    positions: dict[str, int] = field(default_factory=dict)


class Broker(Protocol):
    """A connection to one broker. All methods may be called from any thread and raise BrokerUnavailable.

    An order id is the caller's and is executed at most once: submitting it again is answered with what is known.
    """

    name: str
    follows_the_log: bool
    """It fills an order from its cause on, however late the order comes; so none is too late for its session."""

    def start(self) -> None:
        """Connect, start threads. Before it nothing else is called."""

    def stop(self, timeout: float) -> None:
        """Disconnect and end the threads within `timeout` seconds. Working orders stay working."""

    def dead_thread(self) -> str | None:
        """The name of a thread that has died, if any."""

    def submit(self, tickets: Sequence[Ticket]) -> list[Report]:
        """Hand over orders; a report each, in their order. Each is followed (see `follow`) from then on."""

    def cancel(self, order_id: str, at: datetime, reason: str, cause: str = "") -> Report | None:
        """End a working order, `at` being the time of the wish. What is known of it now, or None: never heard of it.

        `cause` (`topic:partition:offset:n`) is what gave rise to the wish: a broker that fills from our log first meets
        the order with the prices up to there, and ends it then; that is news. May raise CannotTell; the wish must have
        gone out all the same, where it can.
        """

    def query(self, order_ids: Sequence[str]) -> dict[str, Report]:
        """What is known of these orders; one that is missing was never received.

        Raises CannotTell if one of them is an order of which that cannot be said; it is then asked about fewer at once,
        so that the others are told.
        """

    def follow(self, order_ids: Iterable[str]) -> None:
        """Have `news` of these orders of ours from now on."""

    def unfollow(self, order_ids: Iterable[str]) -> None:
        """They are another engine's now."""

    def news(self, timeout: float) -> set[str]:
        """Wait up to `timeout` seconds for something to happen to followed orders: their ids. Then `query` them."""

    def holdings(self, portfolio_ids: Sequence[str]) -> Holdings:
        """Cash and positions of the account that these portfolios trade in, all that do, as the broker's own book has
        them: what reconciliation holds the engine's fills against."""

    def quote(self, code: str) -> Quote | None:
        """The last price of `code` that the broker has seen, if it has any; never waits."""

    def moment(self, code: str) -> datetime | None:
        """The present of its market: the clock's, or in a replay the last tick's. None: unknown."""
