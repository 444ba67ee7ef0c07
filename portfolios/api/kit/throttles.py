"""How often a user may ask, by scope: a sliding minute (or second, hour, day), counted in Redis for all web processes.

With Redis away each process counts for itself: then the limit is a little wide, and nothing else is.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis
from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from portfolios import livestate

log = logging.getLogger(__name__)

LOGIN = "login"
_PERIODS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_TIMEOUT = 0.3
_AWAY_FOR = 5.0
_MOST_HERE = 10_000


class ByScope(BaseThrottle):
    """A user's requests of one scope; where nobody is known, an address's."""

    _wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        scope = view.scope_of(request.method)
        limit, period = rate(getattr(settings.GINKGO.api, f"{scope}_rate"))
        known = request.user is not None and request.user.is_authenticated and scope != LOGIN
        who = f"user:{request.user.pk}" if known else f"from:{request.META.get('REMOTE_ADDR', '')}"
        self._wait = COUNTERS.over(f"api:rate:{scope}:{who}", limit, period, time.time())
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


def rate(text: str) -> tuple[int, int]:
    """`600/min` as (600, 60)."""
    number, _, period = text.partition("/")
    return int(number), _PERIODS[period]


class Counters:
    """Requests of this period and of the one before it, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: dict[str, int] = {}
        self._redis_away_until = 0.0

    def over(self, key: str, limit: int, period: int, now: float) -> float | None:
        """Count one more; None if it is within `limit`, else the seconds until this period ends.

        The last period counts by the share of it that a window of one period up to now still covers.
        """
        window, into = divmod(now, period)
        before, current = self._count(key, int(window), period)
        if before * (1 - into / period) + current <= limit:
            return None
        return max(1.0, period - into)

    def _count(self, key: str, window: int, period: int) -> tuple[int, int]:
        """(of the period before, of this one, this request included)."""
        if time.monotonic() >= self._redis_away_until:
            try:
                pipe = livestate.client(timeout=_TIMEOUT).pipeline(transaction=False)
                pipe.get(f"{key}:{window - 1}")
                pipe.incr(f"{key}:{window}")
                pipe.expire(f"{key}:{window}", 2 * period + 1)
                before, current, _ = pipe.execute()
                return int(before or 0), int(current)
            except (redis.RedisError, livestate.RedisUnavailable) as error:
                log.debug("Requests are counted here, because Redis is away: %s", error)
                self._redis_away_until = time.monotonic() + _AWAY_FOR
        with self._lock:
            if len(self._here) > _MOST_HERE:
                self._here.clear()
            current = self._here[f"{key}:{window}"] = self._here.get(f"{key}:{window}", 0) + 1
            return self._here.get(f"{key}:{window - 1}", 0), current


COUNTERS = Counters()
