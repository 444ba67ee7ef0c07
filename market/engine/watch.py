"""The engine's two watches: on the broker, whose news goes into the books, and on the switch, which ends it all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain

from django.db import Error as DatabaseError
from django.db import close_old_connections

from market import switch
from market.brokers.port import Broker, BrokerUnavailable
from market.engine.books import OPEN
from market.engine.desk import Desk
from market.models import Order

log = logging.getLogger(__name__)

_WAIT = 0.2
_SWEEP = 10.0


class BrokerWatch:
    """Asks about every order that the broker has news of, and every ten seconds about all that are open.

    `decided`: and about these orders, of these portfolios, which may be so at the broker.
    """

    def __init__(
        self,
        broker: Broker,
        desk: Desk,
        mine: Callable[[str], bool],
        decided: Callable[[], Iterable[tuple[str, str]]] = lambda: (),
    ) -> None:
        self._broker = broker
        self._desk = desk
        self._mine = mine
        self._decided = decided
        self._unbooked: set[str] = set()
        self._next_sweep = time.monotonic() + _SWEEP
        self._failing = False
        self.outages = 0
        """How often the broker, or the database, has been away and come back."""

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.step(_WAIT)
            if self._failing:
                stop.wait(_WAIT)

    def step(self, timeout: float) -> int:
        """Wait for news and book it; how many answers that gave. What fails is asked again the next time."""
        try:
            self._unbooked |= self._broker.news(0.0 if self._unbooked else timeout)
            if time.monotonic() >= self._next_sweep:
                self._next_sweep = time.monotonic() + _SWEEP
                self._unbooked |= self._open()
            # By their ids, so that what one price did to several orders is told in the same order every time.
            told = self._desk.absorb(sorted(self._unbooked))
        except (DatabaseError, BrokerUnavailable) as error:
            if not self._failing:
                log.warning("The broker's news wait to be booked: %s", error)
            self._failing = True
            close_old_connections()
            return 0
        self._unbooked = set()
        if self._failing:
            self._failing = False
            self.outages += 1
        return told

    def _open(self) -> set[str]:
        rows = Order.objects.filter(state__in=OPEN).values_list("order_id", "portfolio_id")
        return {order_id for order_id, portfolio_id in chain(rows, self._decided()) if self._mine(portfolio_id)}


class SwitchWatch:
    """Reads the switch every `interval` seconds; while it is off, cancels until nothing is working or in doubt."""

    def __init__(self, desk: Desk, mine: Callable[[str], bool], interval: float) -> None:
        self._desk = desk
        self._mine = mine
        self._interval = interval
        self._on: bool | None = None
        self._failing = False
        self._left = -1

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval):
            self.step(datetime.now(UTC))

    def step(self, now: datetime) -> bool:
        """Look once; whether the switch is on (as last known, while the database is away)."""
        try:
            found = switch.read()
            if found.on != self._on:
                log.info("The engine is %s%s", "on" if found.on else "stopped", _by(found))
                self._on, self._left = found.on, -1
            if not found.on:
                left = self._desk.halt(self._mine, now)
                if left != self._left:
                    log.info("%d orders still working or in doubt", left)
                    self._left = left
            self._failing = False
        except (DatabaseError, BrokerUnavailable) as error:
            if not self._failing:
                log.warning("The switch cannot be obeyed as yet: %s", error)
            self._failing = True
            close_old_connections()
        return self._on is not False


def _by(found: switch.Switch) -> str:
    return f" (by {found.changed_by})" if found.changed_by else ""
