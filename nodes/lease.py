"""A node's right to speak: 5/6 of the heartbeat's TTL, counted from before the heartbeat was written (SPEC N9)."""

from __future__ import annotations

import time
from collections.abc import Callable


def _clock() -> float:
    """Monotonic, and counting on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """On the monotonic clock. Renewed by the heartbeat alone, asked before every send.

    `term` grows each time it is renewed after it was over. What was found to be ours in one term (its epoch was read
    or its checkpoint written) says nothing about the next: a node that was frozen past its lease must ask again.
    """

    def __init__(self, ttl: float, clock: Callable[[], float] = _clock) -> None:
        self._span = ttl * 5 / 6
        self._clock = clock
        self._until = float("-inf")
        self.term = 0

    def now(self) -> float:
        """The clock's reading, to be taken *before* the heartbeat is written."""
        return self._clock()

    def renew(self, since: float) -> None:
        """A heartbeat begun at `since` was written."""
        if not self.valid:
            self.term += 1  # before it is valid again: who sees it valid sees its term
        self._until = max(self._until, since + self._span)

    @property
    def valid(self) -> bool:
        return self._clock() < self._until

    @property
    def left(self) -> float:
        """Seconds until it ends; negative once it has."""
        return self._until - self._clock()
