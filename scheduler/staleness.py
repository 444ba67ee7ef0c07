"""Portfolios that a node is to run and whose state is not written: `status_stale` once an episode, a line when it is
over (N9). Those that stand still, and those that never get live, whatever their status.

Told by whether it changes, not by its timestamp: the clocks of nodes are not the scheduler's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import redis

from portfolios import livestate, ownership
from portfolios.models import Assignment
from portfolios.models.portfolio import DesiredState, Status
from scheduler import wires
from scheduler.models import StaleState

log = logging.getLogger(__name__)

LIMIT = timedelta(seconds=60)
"""Without a word, since the last one or since it was given to a node."""


class Wanted(NamedTuple):
    """Where a portfolio is to run, and where it is in its lifecycle."""

    node_id: str
    status: str


class Watch:
    """Since when each portfolio's state has been what it is, as this process has seen it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str | None, datetime]] = {}

    def look(self, written: Mapping[str, str | None], now: datetime) -> dict[str, datetime]:
        """`written`: when each portfolio's state was written, in its writer's words; since when that stands still."""
        before = self._seen
        self._seen = {
            portfolio_id: known if (known := before.get(portfolio_id)) is not None and known[0] == said else (said, now)
            for portfolio_id, said in written.items()
        }
        return {portfolio_id: since for portfolio_id, (_, since) in self._seen.items()}


_watch = Watch()


def check(client: redis.Redis, now: datetime, watch: Watch = _watch) -> None:
    """Say what has gone stale since the last look and what is written again. Raises redis.RedisError."""
    wanted = _wanted()
    written = _written(client, list(wanted))
    since = watch.look(written, now)
    said = {row.portfolio_id: row for row in StaleState.objects.all()}
    for portfolio_id, at in since.items():
        if now - at >= LIMIT and portfolio_id not in said:
            _begin(portfolio_id, wanted[portfolio_id], written[portfolio_id], at, now)
    for portfolio_id, row in said.items():
        if portfolio_id not in written:
            _end(row, "no node is to run it any more")
        elif written[portfolio_id] not in (None, row.written):
            _end(row, "its state is written again")


def _wanted() -> dict[str, Wanted]:
    """By id. Not those in error: that is said where it happens, and nobody goes on trying."""
    rows = (
        Assignment.objects.filter(portfolio__desired_state=DesiredState.RUNNING)
        .exclude(node_id=ownership.NOBODY)
        .exclude(portfolio__status=Status.ERROR)
    )
    return {
        portfolio_id: Wanted(node_id, status)
        for portfolio_id, node_id, status in rows.values_list("portfolio_id", "node_id", "portfolio__status")
    }


def _begin(portfolio_id: str, wanted: Wanted, written: str | None, since: datetime, now: datetime) -> None:
    _, new = StaleState.objects.get_or_create(
        portfolio_id=portfolio_id, defaults={"written": (written or "")[:64], "since": since}
    )
    if not new:
        return
    message = (
        f"Portfolio {portfolio_id} on {wanted.node_id} is to be running, but its state has not been written "
        f"for {(now - since).total_seconds():.0f} s (its status: {wanted.status})"
    )
    wires.alert(
        "status_stale", "warning", message, subject=portfolio_id, portfolio_id=portfolio_id, node_id=wanted.node_id,
        status=wanted.status, last_written=written or "",
    )  # fmt: skip


def _end(row: StaleState, why: str) -> None:
    deleted, _ = StaleState.objects.filter(portfolio_id=row.portfolio_id).delete()
    if deleted:
        log.info("status_stale resolved: Portfolio %s, %s", row.portfolio_id, why)


def _written(client: redis.Redis, portfolio_ids: list[str]) -> dict[str, str | None]:
    pipe = client.pipeline(transaction=False)
    for portfolio_id in portfolio_ids:
        pipe.hget(livestate.state_key(portfolio_id), "updated_at")
    return dict(zip(portfolio_ids, pipe.execute(), strict=True)) if portfolio_ids else {}
