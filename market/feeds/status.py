"""What a feed says about itself in Redis every second, and the claim that keeps a second one off its market."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psutil
import redis

from market.feeds.base import FeedError
from market.feeds.position import note_position
from market.feeds.worker import Worker
from portfolios import livestate

log = logging.getLogger(__name__)

_INTERVAL = 1.0
_CLAIM_TTL = 10
_WINDOW = 10
"""Seconds over which `per_second` is the mean."""
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('expire', KEYS[1], ARGV[2]) else return 0 end"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"


class Stats:
    """Counted by the publisher's thread, read by the reporter's: single attributes, so no lock is needed."""

    def __init__(self) -> None:
        self.messages = 0
        self.event_time: datetime | None = None
        self.codes = 0
        self.state = "starting"


class Claim:
    """The right to publish a market: a key in Redis that expires 10 s after its holder has died."""

    def __init__(self, market: str) -> None:
        self._key = f"feed:{market}:claim"
        self._market = market
        self._mine = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    def take(self, stop: threading.Event) -> None:
        """Wait for a dead holder's claim to expire. Raises FeedError when it has a living one.

        Without Redis there is no claim: a feed is worth more than the check.
        """
        deadline = time.monotonic() + _CLAIM_TTL + 1
        try:
            while not livestate.client().set(self._key, self._mine, nx=True, ex=_CLAIM_TTL):
                holder = str(livestate.client().get(self._key) or "")
                alive = _is_alive_here(holder)
                if alive is False:
                    livestate.client().eval(_RELEASE, 1, self._key, holder)
                elif holder and (alive or time.monotonic() > deadline):
                    host, pid, *_ = holder.split(":")
                    raise FeedError(f"a feed of market {self._market} already runs: process {pid} on {host}")
                elif stop.wait(0.5):
                    return
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("Redis is away, so nothing keeps a second feed off market %s: %s", self._market, error)

    def renew(self) -> None:
        """Raises FeedError if another feed has it now, redis.RedisError if Redis is away."""
        client = livestate.client()
        if client.eval(_RENEW, 1, self._key, self._mine, _CLAIM_TTL):
            return
        if not client.set(self._key, self._mine, nx=True, ex=_CLAIM_TTL):
            raise FeedError(f"another feed has taken over market {self._market}")

    def release(self) -> None:
        livestate.client().eval(_RELEASE, 1, self._key, self._mine)


class Reporter(Worker):
    """The thread that writes `feed:live:status`, renews the claim and notes the position, every second."""

    def __init__(self, market: str, source: str, stats: Stats, claim: Claim, stop: threading.Event) -> None:
        super().__init__(f"feed_reporter_{market}", stop)
        self._market = market
        self._source = source
        self._stats = stats
        self._claim = claim
        self._history: deque[tuple[float, int]] = deque(maxlen=_WINDOW + 1)
        self._silent = False
        self.taken: FeedError | None = None

    def work(self) -> None:
        while not self.stop.is_set():
            self.report()
            self.stop.wait(_INTERVAL)

    def check(self) -> None:
        super().check()
        if self.taken is not None:
            raise self.taken

    def report(self) -> None:
        try:
            livestate.client().hset(livestate.FEED_STATUS, mapping=self._fields())
            if self._stats.event_time is not None:
                note_position(self._market, self._stats.event_time)
            self._claim.renew()
            self._silent = False
        except FeedError as error:
            self.taken = error
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            if not self._silent:
                log.warning("The feed's status is not written, because Redis is away: %s", error)
            self._silent = True

    def close(self) -> None:
        """The last word, and the claim given back."""
        self.report()
        try:
            self._claim.release()
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("The feed's claim expires by itself, because Redis is away: %s", error)

    def _fields(self) -> dict[Any, Any]:
        now, count = time.monotonic(), self._stats.messages
        self._history.append((now, count))
        since, before = self._history[0]
        rate = (count - before) / (now - since) if now > since else 0.0
        moment = self._stats.event_time
        return {
            "source": self._source,
            "market": self._market,
            "state": self._stats.state,
            "messages": count,
            "per_second": round(rate if self._stats.state != "stopped" else 0.0, 1),
            "event_time": moment.isoformat() if moment else "",
            "codes": self._stats.codes,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "updated_at": datetime.now(UTC).isoformat(),
        }


def read_status() -> dict[str, Any] | None:
    """What the feed last said; None if none ever did. Raises RedisUnavailable or redis.RedisError."""
    found: Any = livestate.client().hgetall(livestate.FEED_STATUS)
    if not found:
        return None
    return {
        **found,
        "messages": int(found["messages"]),
        "codes": int(found["codes"]),
        "pid": int(found["pid"]),
        "per_second": float(found["per_second"]),
        "event_time": found["event_time"] or None,
    }


def _is_alive_here(holder: str) -> bool | None:
    """Whether the holder lives on this host; None where that cannot be told from here."""
    host, pid, *_ = [*holder.split(":"), "", ""]
    if host != socket.gethostname() or not pid.isdigit() or int(pid) == os.getpid():
        return None
    return psutil.pid_exists(int(pid))
