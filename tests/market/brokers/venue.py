"""Where the conformance tests trade: a broker and the market it sees. One class for each broker that is to conform."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.conf import settings

from market.brokers.port import Broker, Ticket
from market.brokers.simulation import SimulatedBroker
from market.brokers.tape import Tape
from market.bus import make_consumer
from portfolios.kernel.orders import Order, order_id
from tests.market.desk_support import MORNING, Alerts, Weekdays, make_portfolio
from tests.market.log_support import Feed

_codes = (f"{n:06d}.SH" for n in itertools.count(600_000 + random.randrange(300) * 10))


class Venue(Protocol):
    """`broker` is connected to an account of `portfolio_id` with a million in cash; `code` is an instrument of it."""

    broker: Broker
    portfolio_id: str
    code: str

    def ticket(self, **changes: Any) -> Ticket:
        """A new order: a buy of 100 `code` at the market, at 10 as things stand."""

    def trade(self, price: float, volume: int | None = None) -> None:
        """`code` trades; returns when the broker has seen it."""

    def next_session(self) -> None:
        """The session ends."""

    def restart(self) -> None:
        """Our connection, or our process, ends and begins anew; the broker's memory is the broker's."""

    def close(self) -> None: ...


class SimulatedVenue:
    """The simulated broker on a real Kafka; its exchange is stepped until it has read all there is."""

    def __init__(self) -> None:
        self.portfolio_id = make_portfolio(cash=1_000_000).id
        self.code = next(_codes)
        self.alerts = Alerts()
        self.feed = Feed(MORNING)
        self._stop = threading.Event()
        self._connect()
        self.feed.tick(self.code, 10.0)

    def ticket(self, cause: str = "", at: datetime | None = None, **changes: Any) -> Ticket:
        cause = cause or self.feed.tick(self.code, 10.0, prev_close=10.0)
        cause = f"{cause}:{uuid.uuid4().int % 10**6}"
        fields: dict[str, Any] = {
            "order_id": order_id(self.portfolio_id, cause, 0),
            "portfolio_id": self.portfolio_id,
            "code": self.code,
            "direction": 1,
            "order_type": "market",
            "volume": 100,
            "price": None,
            "cause": cause,
            "timestamp": at or self.feed.now,
        }
        return Ticket(Order(**{**fields, **changes}), "cn")

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
