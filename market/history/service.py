"""The history writer as a process has it: its parts wired together, their threads, the order in which they stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer
from django.conf import settings

from market.alerting import Alerter
from market.bus import bootstrap, make_consumer, make_producer
from market.feeds.worker import Worker
from market.history.bars import BarMaker
from market.history.intake import GROUP, Intake
from market.history.reader import HistoryAway, Place, Reader
from market.history.rows import Stand
from market.history.sampler import Sampler
from market.history.shipper import Shipper
from market.history.spool import Spool
from market.history.store import Store
from market.messages import PriceUpdate
from market.topics import market_of
from portfolios.calendars import CalendarError, trading_days
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.base import MarketRules

log = logging.getLogger(__name__)

STOP_WITHIN = 8.0
_ASKING = 5.0


def spool_folder() -> Path:
    configured: Path | None = settings.GINKGO.history.spool
    return configured or settings.GINKGO.home / "history"


def days_kept() -> Mapping[str, int]:
    """How long the rows of each table are kept."""
    history = settings.GINKGO.history
    books = ("equity", "positions", "orders", "fills")
    return {"ticks": history.ticks_days, "bars": history.bars_days, **dict.fromkeys(books, history.books_days)}


class HistoryService:
    """Made once, started once, stopped once."""

    def __init__(self) -> None:
        """Raises SpoolError (also if another process writes history) and KafkaUnavailable (no address is known)."""
        config = settings.GINKGO.history
        self._address = bootstrap()
        self.spool = Spool(spool_folder(), config.spool_max_mb * 1024 * 1024)
        self._stop_reading, self._stop_shipping = threading.Event(), threading.Event()
        self._alerts = make_producer("history.alerts", linger_ms=5)
        alerter = Alerter("history", self._alerts)
        # A new spool on a log that was read before: what was being built was lost with the old one.
        earlier = {} if self.spool.offsets() else {"earlier": _earlier}
        bars = BarMaker(_rules, self.spool.bars(), **earlier)
        batch = (config.batch_rows, config.batch_seconds)
        self.intake = Intake(self._stop_reading, _consumer, self.spool, bars, alerter, *batch)
        self.sampler = Sampler(self._stop_reading, self.spool, config.sample_interval, *batch)
        store = Store(settings.GINKGO_RESOLVE().history, days_kept())
        self.shipper = Shipper(self._stop_shipping, self.spool, store, alerter, self.intake.commit)

    @property
    def _threads(self) -> tuple[Worker, ...]:
        return self.intake, self.sampler, self.shipper

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def fault(self) -> str | None:
        """Why this process cannot go on, in one line, or None."""
        for thread in self._threads:
            if not thread.is_alive():
                return f"thread {thread.name} died: see the log"
        if (address := bootstrap()) != self._address:
            return f"Kafka has moved from {self._address} to {address}: history has to be started again"
        return None

    def stop(self) -> None:
        """First what reads, so that its last rows lie in the spool; then what ships them. What is left stays there."""
        self._stop_reading.set()
        self.intake.join(STOP_WITHIN / 2)
        self.sampler.join(STOP_WITHIN / 4)
        self._stop_shipping.set()
        self.shipper.join(STOP_WITHIN / 2)
        if not any(thread.is_alive() for thread in self._threads):
            self.intake.close()
            self.spool.close()
        self._alerts.flush(1.0)


def _consumer() -> Consumer:
    options: dict[str, Any] = {"fetch.wait.max.ms": 500, "queued.min.messages": 10_000}
    return make_consumer("history", GROUP, **options)


def _earlier(tick: PriceUpdate, stand: Stand) -> list[PriceUpdate]:
    """What history itself has of a code's session, up to this tick."""
    start = _rules(market_of(tick.code)).session_at(tick.timestamp).start
    try:
        with Reader(timeout=_ASKING) as reader:
            place = Place(stand.log_id, stand.partition, stand.offset)
            return list(reader.ticks(tick.code, start, before=place))
    except HistoryAway as error:
        log.debug("The first bars of %s may lack their beginning: %s", tick.code, error)
        return []


@lru_cache(maxsize=8)
def _rules(market: str) -> MarketRules:
    try:
        days = trading_days(market, settings.GINKGO.home)
    except CalendarError as error:
        log.warning("Every weekday counts as a trading day of market %s: %s", market, error)
        days = ()
    return rules_for(market, days)


def supervise(service: HistoryService, stop: threading.Event) -> str | None:
    """Until `stop` is set (None) or the service cannot go on (why)."""
    while not stop.wait(0.5):
        if (fault := service.fault()) is not None:
            return fault
    return None
