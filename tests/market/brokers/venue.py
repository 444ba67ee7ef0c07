"""Where the simulated broker is tested: its exchange on a real log, stepped by hand."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from market.brokers.conformance import ticket_of
from market.brokers.port import Ticket
from market.brokers.simulation import SimulatedBroker
from market.brokers.tape import Tape
from market.bus import make_consumer
from portfolios.kernel.orders import order_id
from tests.market.desk_support import MORNING, Alerts, Weekdays, make_portfolio
from tests.market.log_support import Feed

_codes = (f"{n:06d}.SH" for n in itertools.count(600_000 + random.randrange(300) * 10))


class SimulatedVenue:
    """A `Venue` of the conformance suite: the simulated broker on a real Kafka.

    Its exchange has no thread: it is stepped until it has read all there is.
    """

    def __init__(self) -> None:
        self.portfolio_id = make_portfolio(cash=1_000_000).id
        self.code = next(_codes)
        self.alerts = Alerts()
        self.feed = Feed(MORNING)
        self._stop = threading.Event()
        self._connect()
        self.feed.tick(self.code, 10.0)

    def now(self) -> datetime:
        return self.feed.now

    def ticket(self, cause: str = "", at: datetime | None = None, **changes: Any) -> Ticket:
        """Caused by a tick that is really in the log: the exchange looks for it there."""
        cause = cause or self.feed.tick(self.code, 10.0, prev_close=10.0)
        cause = f"{cause}:{uuid.uuid4().int % 10**6}"
        fields = {"order_id": order_id(self.portfolio_id, cause, 0), "cause": cause, **changes}
        return ticket_of(self.portfolio_id, self.code, at or self.feed.now, **fields)

    def trade(self, price: float, volume: int | None = None) -> None:
        self.feed.tick(self.code, price, volume=volume, prev_close=10.0)
        self.pump()

    def next_session(self) -> None:
        self.feed.now += timedelta(days=1)
        self.trade(10.0)

    def restart(self) -> None:
        self.close()
        self._connect()

    def pump(self) -> None:
        """Let the exchange read on to the end of what it reads."""
        for _ in range(2000):
            self.broker._exchange.step(self._tape, self._stop)
            if not self.broker._exchange._moves and all(
                self._tape.next(place) >= self._tape.end(place) for place in self._tape.places
            ):
                return
        raise AssertionError("the exchange does not come to the end of the log")

    def close(self) -> None:
        self._tape.close()

    def _connect(self) -> None:
        self.broker = SimulatedBroker(self.alerts, options=settings.GINKGO.brokers["simulation"])
        self.broker._rulebook = self.broker._exchange._rulebook = Weekdays()
        self._tape = Tape(make_consumer("test-exchange"), self.broker._exchange._gap)
