"""The simulated broker: an exchange of its own, with its book in the database and its prices from Kafka (SPEC M4)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError

from market.alerting import Alerter
from market.brokers import book
from market.brokers.exchange import Exchange, Recall
from market.brokers.port import BrokerUnavailable, Holdings, Report, Ticket
from market.brokers.tape import Tape
from market.bus import make_consumer
from market.engine.rulebook import Rulebook
from market.pretrade import Quote
from portfolios.kernel.exchange import rest

log = logging.getLogger(__name__)

DEFAULTS = {"slippage_rate": 0.001, "save_cursors": 10.0}


class SimulatedBroker:
    """Fills orders from recorded or live ticks, deterministically, however late they come or often it dies."""

    follows_the_log = True

    def __init__(self, alerter: Alerter, name: str = "simulation", options: dict[str, Any] | None = None) -> None:
        """`options`: `commission_rate` and `slippage_rate`, as shares of the amount and the price, the former also by
        market (`{cn: 0.0003, hk: 0.001}`) and each market's own where it is not given; `save_cursors`, how often, in
        seconds, it writes down how far it has read for the orders that wait."""
        options = {**DEFAULTS, **(options or {})}
        self.name = name
        self._rulebook = Rulebook(settings.GINKGO.home, options.get("commission_rate"))
        self._exchange = Exchange(
            tape=lambda gap: Tape(make_consumer("ginkgo-exchange"), gap),
            rulebook=self._rulebook,
            slippage_rate=float(options["slippage_rate"]),
            alerter=alerter,
            notify=self._tell,
            save_cursors=float(options["save_cursors"]),
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._changed: set[str] = set()
        self._news = threading.Condition()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stop.set()
        with self._news:
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def dead_thread(self) -> str | None:
        thread = self._thread
        return None if thread is None or thread.is_alive() or self._stop.is_set() else thread.name

    def submit(self, tickets: Sequence[Ticket]) -> list[Report]:
        with _answering():
            reports, placed = book.enter([self._entry(ticket) for ticket in tickets])
        self._exchange.admit(placed)
        return reports

    def cancel(self, order_id: str, at: datetime, reason: str, cause: str = "") -> Report | None:
        if cause:
            with _answering():
                report = book.reports([order_id]).get(order_id)
            if report is not None and report.state == "working":
                self._exchange.recall(Recall(order_id, at, reason, cause))
            return report
        with _answering():
            report = book.cancel(order_id, at, reason)
        self._exchange.dismiss([order_id])
        return report

    def query(self, order_ids: Sequence[str]) -> dict[str, Report]:
        with _answering():
            return book.reports(order_ids)

    def follow(self, order_ids: Iterable[str]) -> None:
        with _answering():
            self._exchange.admit(book.working(order_ids))

    def unfollow(self, order_ids: Iterable[str]) -> None:
        self._exchange.dismiss(order_ids)

    def news(self, timeout: float) -> set[str]:
        with self._news:
            self._news.wait_for(lambda: self._changed or self._stop.is_set(), timeout)
            changed, self._changed = self._changed, set()
        return changed

    def holdings(self, portfolio_ids: Sequence[str]) -> Holdings:
        with _answering():
            return book.holdings(portfolio_ids)

    def quote(self, code: str) -> Quote | None:
        return self._exchange.quote(code)

    def moment(self, code: str) -> datetime | None:
        quote = self._exchange.quote(code)
        return None if quote is None else quote.timestamp

    def _run(self) -> None:
        try:
            self._exchange.run(self._stop)
        except Exception:
            # Whoever supervises finds the thread dead; here is why.
            log.exception("The simulated exchange died")

    def _tell(self, order_ids: set[str]) -> None:
        with self._news:
            self._changed |= order_ids
            self._news.notify_all()

    def _entry(self, ticket: Ticket) -> book.Entry:
        order = ticket.order
        rules = self._rulebook(ticket.market)
        refusal = "market_not_supported" if rules is None else ""
        resting = None
        if rules is not None:
            try:
                resting = rest(order, rules, st=ticket.st)
            except ValueError:
                refusal = "bad_cause"
        return book.Entry(
            order_id=order.order_id,
            portfolio_id=order.portfolio_id,
            code=order.code,
            direction=order.direction,
            volume=order.volume,
            at=order.timestamp,
            resting=resting,
            refusal=refusal,
        )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise BrokerUnavailable(f"the simulated exchange's book does not answer: {error}") from error
