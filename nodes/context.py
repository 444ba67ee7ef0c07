"""What every portfolio of a node shares: its clients, its limits, and what it knows about topics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from django.conf import settings

from market import bus, topics
from market.alerting import Alerter
from nodes.checkpointer import Checkpointer
from nodes.consumer import LogConsumer
from nodes.lease import Lease
from nodes.readers import Readers
from nodes.sender import Sender
from nodes.subscription import Position
from nodes.warmup import History
from portfolios.kernel.rules import commission_rate_of, rules_for
from portfolios.kernel.rules.base import MarketRules

log = logging.getLogger(__name__)

_making_rules = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """Times in seconds, the queue in events. `stop_timeout` is what a reload may take; then it is forced."""

    max_queue_size: int
    checkpoint_interval: float
    resend_interval: float
    stop_timeout: float
    answer_wait: float = 2.0
    start_timeout: float = 20.0


class TopicCatalogue:
    """Partition counts and topic ids, asked of Kafka when they are wanted and older than a few seconds."""

    def __init__(self, fetch: Callable[[], dict[str, tuple[str, int]]], fresh_for: float = 5.0) -> None:
        self._fetch = fetch
        self._fresh_for = fresh_for
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, int]] = {}
        self._asked = float("-inf")

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        """topic → Kafka's topic id, of those that exist."""
        known = self._current()
        return {name: known[name][0] for name in names if name in known}

    def partitions(self, name: str) -> int:
        """How many partitions a topic has. Raises KafkaUnavailable if it does not exist."""
        known = self._current()
        if name not in known:
            raise bus.KafkaUnavailable(f"topic {name} does not exist: run 'ginkgo data init'")
        return known[name][1]

    def _current(self) -> dict[str, tuple[str, int]]:
        with self._lock:
            if time.monotonic() - self._asked > self._fresh_for:
                self._known = self._fetch()
                self._asked = time.monotonic()
            return self._known


@dataclass(frozen=True)
class Context:
    node_id: str
    limits: Limits
    market: LogConsumer
    feedback: LogConsumer
    checkpointer: Checkpointer
    sender: Sender
    lease: Lease
    alerter: Alerter
    catalogue: TopicCatalogue
    readers: Readers
    trading_days: Callable[[str], tuple[date, ...]]
    partition_pruning: bool
    history: History = field(default_factory=History)

    def rules(self, market: str) -> MarketRules:
        days = self.trading_days(market)
        with _making_rules:  # portfolios start together: all but the first wait for what it makes
            return _rules(market, days, _commission(market))

    def market_positions(self, codes: Iterable[str]) -> set[Position]:
        """The partitions that these codes live in; without pruning, all partitions of their topics."""
        found: set[Position] = set()
        for code in codes:
            topic = topics.market_topic(code)
            count = self.catalogue.partitions(topic)
            if self.partition_pruning:
                found.add((topic, bus.partition_of(code, count)))
            else:
                found.update((topic, partition) for partition in range(count))
        return found

    def feedback_position(self, portfolio_id: str) -> Position:
        count = self.catalogue.partitions(topics.ORDERS_FEEDBACK)
        return topics.ORDERS_FEEDBACK, bus.partition_of(portfolio_id, count)


def _commission(market: str) -> float | None:
    """What the engine's broker takes: by that a portfolio reckons what it can afford, as in a backtest."""
    options = settings.GINKGO.brokers.get(settings.GINKGO.engine.broker, {})
    try:
        return commission_rate_of(options.get("commission_rate"), market)
    except ValueError as error:
        log.error("brokers.%s.%s: the market's own is reckoned with", settings.GINKGO.engine.broker, error)
        return None


@lru_cache(maxsize=8)
def _rules(market: str, days: tuple[date, ...], commission_rate: float | None) -> MarketRules:
    """One for all portfolios of a market: they are pure, and their tables are large."""
    rules = rules_for(market, days, commission_rate=commission_rate)
    if market == "cn":
        # The dated records are parsed when first asked for. That takes half a second: now, not at the first tick.
        rules.limits("600000.SH", 100_000, days[-1] if days else date(2026, 1, 5))
    return rules
