"""Running portfolios whose state is no longer written: `status_stale` once an episode, a line when it is over (N9).

Told by whether it changes, not by its timestamp: the clocks of nodes are not the scheduler's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

import redis

from portfolios import livestate
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from scheduler import wires
from scheduler.models import StaleState

log = logging.getLogger(__name__)

LIMIT = timedelta(seconds=60)


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
    running = list(
        Portfolio.objects.filter(status=Status.RUNNING, desired_state=DesiredState.RUNNING).values_list("id", flat=True)
    )
    written = _written(client, running)
    since = watch.look(written, now)
    said = {row.portfolio_id: row for row in StaleState.objects.all()}
    for portfolio_id, at in since.items():
        if now - at >= LIMIT and portfolio_id not in said:
            _begin(portfolio_id, written[portfolio_id], at, now)
    for portfolio_id, row in said.items():
        if portfolio_id not in written:
            _end(row, "it is not running any more")
        elif written[portfolio_id] not in (None, row.written):
            _end(row, "its state is written again")


def _begin(portfolio_id: str, written: str | None, since: datetime, now: datetime) -> None:
    _, new = StaleState.objects.get_or_create(
        portfolio_id=portfolio_id, defaults={"written": (written or "")[:64], "since": since}
    )
    if not new:
        return
    node_id = Assignment.objects.filter(portfolio_id=portfolio_id).values_list("node_id", flat=True).first() or ""
    message = (
        f"Portfolio {portfolio_id} on {node_id or 'no node'} is to be running, but its state has not been written "
        f"for {(now - since).total_seconds():.0f} s"
    )
    wires.alert(
        "status_stale", "warning", message, subject=portfolio_id, portfolio_id=portfolio_id, node_id=node_id,
        last_written=written or "",
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
