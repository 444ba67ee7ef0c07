"""How long orders and reloads took, counted once each since the installation's first scrape, as Prometheus wants it.

The counts are in Redis, for all web processes together, with the place in MySQL up to which they go. Each scrape counts
what has come since then, so nothing is missed between two scrapes, however far apart. Redis without its data begins
anew at zero, which Prometheus takes for the restart of a counter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
from django.db.models import Exists, Max, OuterRef, Subquery

from market.models import Order, OutboxMessage
from portfolios import command_log
from portfolios.models import Command
from portfolios.models.command import CommandState

EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SETTLED = timedelta(seconds=2)
"""A row is looked at when it is as old as this: one that was written earlier and committed later is then there too."""
_AT_ONCE = 5000
_LONGEST_RELOAD = timedelta(hours=1)
_TRIES = 3


@dataclass(frozen=True)
class Histogram:
    """`buckets`: how many took at most each of EDGES, and how many in all; `total`: their seconds together."""

    buckets: tuple[int, ...]
    total: float


Since = Callable[[str | None, datetime], tuple[list[float], str]]
"""Seconds of each that came after a place, and the next place. Without a place: none, and where it begins."""


def advance(client: redis.Redis, name: str, since: Since, now: datetime) -> Histogram:
    """The histogram `name` with all that has come since it was last asked for. Raises redis.RedisError."""
    key = f"metrics:histogram:{name}"
    with client.pipeline() as pipe:
        for _ in range(_TRIES):
            pipe.watch(key)  # type: ignore[no-untyped-call]
            place = pipe.hget(key, "place")
            seconds, following = since(place if isinstance(place, str) else None, now)
            pipe.multi()
            if following != place:
                pipe.hset(key, "place", following)
                pipe.hincrbyfloat(key, "total", sum(seconds))
                for bucket, number in _sorted(seconds).items():
                    pipe.hincrby(key, str(bucket), number)
            pipe.hgetall(key)
            try:
                kept: dict[str, str] = pipe.execute()[-1]
            except redis.WatchError:
                continue  # another process has just counted them
            return _histogram(kept)
    kept = client.hgetall(key)  # type: ignore[assignment]
    return _histogram(kept)


def answers(place: str | None, now: datetime) -> tuple[list[float], str]:
    """From the engine's receipt of an order to its first answer; the place is the outbox's last row."""
    if place is None:
        return [], str(OutboxMessage.objects.aggregate(last=Max("pk"))["last"] or 0)
    earlier = OutboxMessage.objects.filter(order_id=OuterRef("order_id"), pk__lt=OuterRef("pk"))
    received = Order.objects.filter(pk=OuterRef("order_id")).values("received_at")[:1]
    rows = (
        OutboxMessage.objects.filter(pk__gt=int(place), created_at__lt=now - _SETTLED)
        .order_by("pk")
        .annotate(again=Exists(earlier), received=Subquery(received))
        .values_list("pk", "again", "received", "created_at")[:_AT_ONCE]
    )
    seconds, last = [], place
    for key, again, at, answered in rows:
        last = str(key)
        if not again and at is not None:
            seconds.append(max(0.0, (answered - at).total_seconds()))
    return seconds, last


def reloads(place: str | None, now: datetime) -> tuple[list[float], str]:
    """From the command to its end; the place is the moment up to which they have been looked at."""
    until = now - _SETTLED
    if place is None:
        return [], until.isoformat()
    begin = datetime.fromisoformat(place)
    # One that no node had anything to do for is done at once, and says nothing of how long they take.
    done = Command.objects.exclude(door=command_log.DIRECT).filter(
        state=CommandState.DONE,
        command_type="portfolio.reload",
        created_at__gte=begin - _LONGEST_RELOAD,
        finished_at__gt=begin,
        finished_at__lte=until,
    )
    moments = done.values_list("created_at", "finished_at")
    took = [max(0.0, (end - begun).total_seconds()) for begun, end in moments if end is not None]
    return took, max(begin, until).isoformat()


def _sorted(seconds: Iterable[float]) -> dict[int, int]:
    """How many fall into each bucket, by its number."""
    found: dict[int, int] = {}
    for each in seconds:
        bucket = bisect_left(EDGES, each)
        found[bucket] = found.get(bucket, 0) + 1
    return found


def _histogram(kept: dict[str, str]) -> Histogram:
    buckets, so_far = [], 0
    for bucket in range(len(EDGES) + 1):
        so_far += int(kept.get(str(bucket), 0))
        buckets.append(so_far)
    return Histogram(tuple(buckets), float(kept.get("total", 0)))
