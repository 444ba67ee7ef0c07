"""A node's right to speak: 5/6 of the heartbeat's TTL, counted from before the heartbeat was written (SPEC N9)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Lease:
    """On the monotonic clock. Renewed by the heartbeat alone, asked before every send."""

    def __init__(self, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._span = ttl * 5 / 6
        self._clock = clock
        self._until = float("-inf")

    def now(self) -> float:
        """The clock's reading, to be taken *before* the heartbeat is written."""
        return self._clock()

    def renew(self, since: float) -> None:
        """A heartbeat begun at `since` was written."""
        self._until = max(self._until, since + self._span)

    @property
    def valid(self) -> bool:
        return self._clock() < self._until

    @property
    def left(self) -> float:
        """Seconds until it ends; negative once it has."""
        return self._until - self._clock()
