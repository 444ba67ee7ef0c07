"""What a node measures of itself, as it stands in `node:metrics:{id}` (SPEC section 3); all of it real."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

from nodes.checkpointer import Checkpointer
from nodes.consumer import LogConsumer
from nodes.lag import LagMeter
from nodes.processor import Processor
from nodes.sender import Sender


class Metrics:
    """Counters outlive the portfolios they count: those of one that has ended are kept in `retired`. None ever falls:
    whoever reads them takes a fall for a restart.
    """

    def __init__(self, market: LogConsumer, checkpointer: Checkpointer, sender: Sender, lag: LagMeter) -> None:
        self._market = market
        self._lag = lag
        self._checkpointer = checkpointer
        self._sender = sender
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._cpu = 0.0
        self._cpu_at = time.monotonic()
        self._started = time.monotonic()
        self._retired = {"events": 0, "dropped": 0, "pressure": 0, "skipped": 0}
        self._told: dict[str, int] = {}

    def retire(self, processor: Processor) -> None:
        """Keep the counts of a portfolio that is no longer run here."""
        self._retired["events"] += processor.applied
        self._retired["dropped"] += processor.dropped
        self._retired["pressure"] += processor.pressure
        self._retired["skipped"] += processor.skipped

    def read(self, processors: Iterable[Processor]) -> dict[str, str]:
        """The hash, as text. `queue_size` is the mean over portfolios, memory in MB, CPU in % of one core.

        `processors` are all that are not retired, those among them that are stopping too: they still count.
        """
        known = list(processors)
        running = [p for p in known if not p.stopping.is_set()]
        now = time.monotonic()
        if now - self._cpu_at >= 1.0:
            self._cpu, self._cpu_at = self._process.cpu_percent(), now
        return {
            "portfolio_count": str(len(running)),
            "queue_size": f"{sum(p.queued for p in running) / len(running):.0f}" if running else "0",
            "cpu_usage": f"{self._cpu:.1f}",
            "memory_usage": f"{self._process.memory_info().rss / 1_048_576:.1f}",
            "total_events": self._counted("events", sum(p.applied for p in known)),
            "backpressure_count": self._counted("pressure", sum(p.pressures for p in known)),
            "dropped_events": self._counted("dropped", sum(p.drops for p in known)),
            "skipped_events": self._counted("skipped", sum(p.skipped for p in known)),
            "messages_seen": str(self._market.seen),
            "undecodable": str(self._market.poison.count),
            "orders_sent": str(self._sender.sent),
            "orders_failed": str(self._sender.failed),
            "orders_straight": str(self._sender.straight),
            "checkpoints": str(self._checkpointer.written),
            "checkpoint_ms": f"{self._checkpointer.last_write_seconds * 1000:.2f}",
            "threads": str(self._process.num_threads()),
            "uptime": f"{now - self._started:.0f}",
            **self._lag.as_metrics(),
        }

    def _counted(self, what: str, by_those_known: int) -> str:
        """Not less than was told before: while they are asked, their threads count on, or leave a subscription."""
        told = self._told[what] = max(self._told.get(what, 0), self._retired[what] + by_those_known)
        return str(told)
