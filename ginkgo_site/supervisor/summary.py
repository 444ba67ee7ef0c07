"""The line that `ginkgo up` shows while it runs: nodes that live, portfolios that run, ticks, orders filled."""

from __future__ import annotations

import logging
import threading
from typing import Any

from django.db import close_old_connections

logger = logging.getLogger(__name__)

_EVERY = 1.0
_LIVE = frozenset({"live", "online", "running", "enabled"})


def line(status: dict[str, Any]) -> str:
    """One line, at most 80 columns, of what `ginkgo status --json` says."""
    nodes = status.get("nodes", [])
    portfolios = status.get("portfolios", [])
    orders, feed = status.get("orders", {}), status.get("feed", {})
    live = sum(_is_live(node) for node in nodes)
    running = sum(portfolio.get("status") == "running" for portfolio in portfolios)
    day = str(feed.get("event_time") or "")[:10]
    rate = feed.get("per_second") or 0
    parts = [
        f"{live}/{len(nodes)} nodes",
        f"{running}/{len(portfolios)} portfolios running",
        f"{rate:.0f} ticks/s" if rate >= 10 else f"{rate:.1f} ticks/s",
        f"{orders.get('filled', 0)} orders filled",
        *([day] if day else []),
    ]
    return " · ".join(parts)


def is_running(status: dict[str, Any]) -> bool:
    """Whether every portfolio there is runs."""
    portfolios = status.get("portfolios", [])
    return bool(portfolios) and all(portfolio.get("status") == "running" for portfolio in portfolios)


def _is_live(node: dict[str, Any]) -> bool:
    state = node.get("live", node.get("state", node.get("status")))
    return state if isinstance(state, bool) else str(state) in _LIVE


class Summary(threading.Thread):
    """Collects the status every second in a thread of its own: a slow answer must not stop the supervising."""

    def __init__(self) -> None:
        super().__init__(name="summary", daemon=True)
        self.status: dict[str, Any] | None = None
        self.fault: str | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        from ginkgo_site.status import collect

        while not self._stopping.wait(_EVERY):
            try:
                close_old_connections()
                self.status, self.fault = collect(), None
            except Exception as error:  # whatever is away now may be back next time; the line says so
                if self.fault is None:
                    logger.debug("no status", exc_info=True)
                self.fault = f"{type(error).__name__}: {' '.join(str(error).split())[:60]}"
        close_old_connections()

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=2.0)
