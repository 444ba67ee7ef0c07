"""Samples what portfolios are worth, as their nodes tell Redis, and what they hold, as their checkpoints say.

A log of neither exists: between two samples, and while this process is down, nothing is recorded. Redis or the database
being away costs samples, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis
from django.db import Error as DatabaseError
from django.db import connection

from market.alerting import Throttle
from market.feeds.worker import Worker
from market.history.rows import Row, Rows, micros
from market.history.spool import Spool, SpoolError
from portfolios import livestate
from portfolios.kernel import state as snapshots
from portfolios.kernel.money import to_float
from portfolios.models import Checkpoint, Portfolio
from portfolios.models.portfolio import Status

log = logging.getLogger(__name__)

_HOLDINGS_EVERY = 10.0


class Sampler(Worker):
    """`interval`: seconds between two looks at Redis. Rows are put away as the log's are."""

    def __init__(
        self, stop: threading.Event, spool: Spool, interval: float, batch_rows: int, batch_seconds: float
    ) -> None:
        super().__init__("history-sampler", stop)
        self._spool = spool
        self._interval = interval
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._rows: Rows = {"equity": [], "positions": []}
        self._since = float("inf")
        self._equity: dict[str, Row] = {}
        self._saved: dict[str, datetime] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._looked_at = float("-inf")
        self._throttle = Throttle()

    def work(self) -> None:
        while not self.stop.wait(self._interval):
            self.step()
        self._flush()
        connection.close()

    def step(self) -> None:
        """One look; and into the spool, if it is enough or has waited long enough."""
        try:
            running = list(Portfolio.objects.filter(status=Status.RUNNING).values_list("id", flat=True))
            self.take_equity(running)
            if time.monotonic() - self._looked_at >= _HOLDINGS_EVERY:
                self._looked_at = time.monotonic()
                self.take_positions(running)
        except (DatabaseError, redis.RedisError, livestate.RedisUnavailable) as error:
            if self._throttle.allows("away", 60):
                log.warning("No samples of equity and positions for now: %s", error)
            if isinstance(error, DatabaseError):
                connection.close()  # the next look begins with a new one
        count = sum(map(len, self._rows.values()))
        if count >= self._batch_rows or time.monotonic() - self._since >= self._batch_seconds:
            self._flush()

    def take_equity(self, portfolio_ids: Iterable[str]) -> None:
        """What Redis says of each, where it is news."""
        ids = list(portfolio_ids)
        pipe = livestate.client().pipeline(transaction=False)
        for portfolio_id in ids:
            pipe.hgetall(livestate.state_key(portfolio_id))
        for portfolio_id, view in zip(ids, pipe.execute(), strict=True):
            row = _equity_row(portfolio_id, view)
            if row is not None and self._equity.get(portfolio_id, ())[:-1] != row[:-1]:
                self._equity[portfolio_id] = row
                self._add("equity", row)

    def take_positions(self, portfolio_ids: Iterable[str]) -> None:
        """What the checkpoints hold that were written since the last look."""
        rows = Checkpoint.objects.filter(portfolio_id__in=list(portfolio_ids)).values_list("portfolio_id", "saved_at")
        news = [pid for pid, saved in rows if saved is not None and self._saved.get(pid) != saved]
        for found in Checkpoint.objects.filter(portfolio_id__in=news).exclude(state=b"").only("state", "saved_at"):
            try:
                state = snapshots.decode(bytes(found.state))
            except msgspec.MsgspecError as error:
                log.error("The checkpoint of portfolio %s cannot be read: %s", found.portfolio_id, error)
                continue
            assert found.saved_at is not None
            self._saved[found.portfolio_id] = found.saved_at
            if state.now is None:
                continue
            self._add_positions(found.portfolio_id, state, micros(state.now), micros(found.saved_at))

    def _add_positions(self, portfolio_id: str, state: Any, at: int, saved_at: int) -> None:
        held = {code: each for code, each in state.ledger.positions.items() if each.volume}
        for code, each in held.items():
            self._add(
                "positions",
                (
                    portfolio_id,
                    code,
                    at,
                    each.volume,
                    each.available,
                    to_float(each.average_cost),
                    to_float(each.last_price),
                    to_float(each.unrealised),
                    saved_at,
                ),
            )
        for code in self._held.get(portfolio_id, frozenset()) - held.keys():
            self._add("positions", (portfolio_id, code, at, 0, 0, 0.0, 0.0, 0.0, saved_at))
        self._held[portfolio_id] = frozenset(held)

    def _add(self, table: str, row: Row) -> None:
        if not any(self._rows.values()):
            self._since = time.monotonic()
        self._rows[table].append(row)

    def _flush(self) -> None:
        if not any(self._rows.values()):
            return
        try:
            if not self._spool.full:
                self._spool.put(self._rows)
        except SpoolError as error:
            if self._throttle.allows("spool", 60):
                log.warning("Samples of equity and positions are lost: %s", error)
        self._rows, self._since = {"equity": [], "positions": []}, float("inf")


def _equity_row(portfolio_id: str, view: dict[str, str]) -> Row | None:
    """None for a portfolio that has not told yet, or has seen no price."""
    try:
        at = datetime.fromisoformat(view["event_time"])
        told = datetime.fromisoformat(view["updated_at"])
        if at.year <= 1970:
            return None
        return (
            portfolio_id,
            micros(at),
            float(view["cash"]),
            float(view["frozen"]),
            float(view["total_value"]),
            int(view["position_count"]),
            micros(told if told.tzinfo is not None else told.replace(tzinfo=UTC)),
        )
    except (KeyError, ValueError):
        return None
