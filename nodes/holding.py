"""Feedback that is held back until its price is there: nobody hears of a fill before the price at which it traded (P8).

Prices and feedback come by two consumers, either of which may be the quicker. The engine says in each message how far
the exchange had read; what lies ahead of that in the portfolio's own reading waits, though not longer than a moment,
and not while the portfolio ends: an answer matters more than its place.
"""

from __future__ import annotations

import threading
import time

from nodes.runtime import Runtime
from nodes.subscription import Item, Position

PATIENCE = 2.0
"""Seconds that feedback waits for the price that made it, where the market's consumer is behind the other."""


class Holding:
    """Feedback in its order, of which the first part may be due. Used by the portfolio's own thread alone."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._items: list[Item] = []
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def following(self) -> dict[Position, int]:
        """Where feedback goes on: the place of the oldest that is held back, as it is not decided yet."""
        if not self._items:
            return {}
        topic, partition, offset = self._items[0].cause
        return {(topic, partition): offset}

    def sift(self, run: Runtime, items: list[Item]) -> list[Item]:
        """Of what is held back, and then of these, what is due; the rest is held back."""
        items = self._items + items
        due = self._are_due(run, items)
        items, self._items = items[:due], items[due:]
        return items

    def put_back(self, items: list[Item]) -> None:
        """These were due, but more than is applied in one go: they are the oldest again."""
        self._items[:0] = items

    def clear(self) -> None:
        """Forget them all: they are in the log."""
        self._items, self._since = [], 0.0

    def _are_due(self, run: Runtime, items: list[Item]) -> int:
        """How many of these, from the first on."""
        for number, item in enumerate(items):
            if self._stopping.is_set() or not is_early(item, run):
                continue
            now = time.monotonic()
            self._since = self._since or now
            if now - self._since < PATIENCE:
                return number
            break
        if items:
            self._since = 0.0
        return len(items)


def is_early(item: Item, run: Runtime) -> bool:
    """Whether the price up to which the exchange had read is one that this portfolio has yet to see."""
    seen = item.event.seen  # type: ignore[union-attr]
    if not seen:
        return False
    topic, _, place = seen.partition(":")
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    following = run.next_offset((topic, int(partition)))
    return following is not None and following <= int(offset)
