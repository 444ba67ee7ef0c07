"""What a node counts: never less than it has told."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from nodes.metrics import Metrics

COUNTERS = ("total_events", "backpressure_count", "dropped_events", "skipped_events")


class Hosted:
    """As much of a portfolio's processor as is counted."""

    def __init__(self, count: int) -> None:
        self.applied = self.skipped = self.dropped = self.pressure = count
        self.in_subscription = 0
        self.queued = 4
        self.stopping = threading.Event()

    @property
    def drops(self) -> int:
        return self.dropped + self.in_subscription

    pressures = drops


def _metrics() -> Metrics:
    nothing: Any = SimpleNamespace(
        seen=0, poison=SimpleNamespace(count=0), sent=0, failed=0, straight=0, written=0, last_write_seconds=0.0,
        as_metrics=dict,
    )  # fmt: skip
    return Metrics(nothing, nothing, nothing, nothing)


def _told(metrics: Metrics, *hosted: Hosted) -> list[int]:
    told = metrics.read(hosted)  # type: ignore[arg-type]
    return [int(told[name]) for name in COUNTERS]


def test_a_portfolio_that_stops_still_counts_and_is_no_longer_run() -> None:
    metrics, staying, leaving = _metrics(), Hosted(10), Hosted(7)
    assert _told(metrics, staying, leaving) == [17] * 4
    leaving.stopping.set()
    assert _told(metrics, staying, leaving) == [17] * 4
    assert metrics.read([staying, leaving])["portfolio_count"] == "1"  # type: ignore[list-item]
    metrics.retire(leaving)  # type: ignore[arg-type]
    assert _told(metrics, staying) == [17] * 4


def test_it_never_falls_though_it_is_asked_while_a_portfolio_leaves_its_subscription() -> None:
    metrics, leaving = _metrics(), Hosted(7)
    leaving.in_subscription = 5
    assert _told(metrics, leaving) == [7, 12, 12, 7]
    leaving.in_subscription = 0  # and not yet added to its own count
    assert _told(metrics, leaving) == [7, 12, 12, 7]
    leaving.dropped = leaving.pressure = 13
    assert _told(metrics, leaving) == [7, 13, 13, 7]
