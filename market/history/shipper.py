"""Brings what lies in the spool to history's server, the oldest first, as often as it takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from market.alerting import Alerter
from market.feeds.worker import Worker
from market.history.errors import HistoryAway, HistoryRefused
from market.history.rows import Row
from market.history.spool import Batch, Offsets, Spool, SpoolError
from market.history.store import Store

log = logging.getLogger(__name__)

_MOST = 10_000
"""Rows that are brought in one go."""
_BACK_OFF = (0.5, 1.0, 2.0, 5.0)
_IDLE = 0.5
_EXPIRE_EVERY = 3600.0
_ALERT_EVERY = 300.0
_NEARLY = 0.8


class Shipper(Worker):
    """`through` is told up to where of the log the server has everything; `wake` may be set when there is something."""

    def __init__(
        self,
        stop: threading.Event,
        spool: Spool,
        store: Store,
        alerter: Alerter,
        through: Callable[[Offsets], None],
    ) -> None:
        super().__init__("history-shipper", stop)
        self.away = ""
        """Why the server does not take anything, or nothing."""
        self._spool = spool
        self._store = store
        self._alerter = alerter
        self._through = through
        self._failures = 0
        self._expired_at = float("-inf")

    def work(self) -> None:
        while not self.stop.is_set():
            if self.step():
                continue
            self.stop.wait(_BACK_OFF[min(self._failures, len(_BACK_OFF)) - 1] if self._failures else _IDLE)
        if not self.away:
            self.step()  # what came last, while the server is there
        self._store.close()

    def step(self) -> bool:
        """Bring one load; whether there was one and it has arrived."""
        self._watch_bound()
        try:
            batches = self._spool.oldest(_MOST)
            if not batches:
                self._expire()
                return False
            self._bring(batches)
            through = self._spool.done(batches)
        except (HistoryAway, HistoryRefused, SpoolError) as error:
            self._on_failure(error)
            return False
        if self._failures:
            log.info("History's server takes rows again")
        self._failures, self.away = 0, ""
        self._through(through)
        return True

    def _bring(self, batches: list[Batch]) -> None:
        tables: dict[str, list[Row]] = {}
        for batch in batches:
            tables.setdefault(batch.table, []).extend(batch.rows)
        for table, rows in tables.items():
            self._insert(table, rows)

    def _insert(self, table: str, rows: list[Row]) -> None:
        """All of them, but for those that the server will never take: one such row must not keep the others."""
        try:
            self._store.insert(table, rows)
        except HistoryRefused as error:
            if len(rows) > 1:
                half = len(rows) // 2
                self._insert(table, rows[:half])
                self._insert(table, rows[half:])
                return
            self._spool.refuse(table, rows[0], str(error))
            self._alerter.raise_alert(
                "data_anomaly",
                "warning",
                f"History's server refuses a row of {table}, it is kept in the spool: {error}",
                at_most_every=60,
                subject=f"history:{table}",
            )

    def _expire(self) -> None:
        if time.monotonic() - self._expired_at >= _EXPIRE_EVERY:
            self._expired_at = time.monotonic()
            gone = self._store.expire(time.time_ns() // 1000)
            if gone:
                log.info("%d rows of history were deleted: their time is over", gone)

    def _on_failure(self, error: Exception) -> None:
        self._failures += 1
        self.away = str(error)
        if self._failures == 1:
            log.warning("History's server does not take rows, they wait in the spool: %s", error)

    def _watch_bound(self) -> None:
        share = self._spool.bytes / self._spool.bound
        if share < _NEARLY:
            return
        full = self._spool.full
        self._alerter.raise_alert(
            "history_spool",
            "critical" if full else "warning",
            (
                "History's spool is full: the log is not read on until its server is back"
                if full
                else f"History's spool is {share:.0%} full"
            )
            + (f" ({self.away})" if self.away else ""),
            at_most_every=_ALERT_EVERY,
            subject="full" if full else "nearly",
            bytes=self._spool.bytes,
            bound=self._spool.bound,
            rows=self._spool.rows,
        )
