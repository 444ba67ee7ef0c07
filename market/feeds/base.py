"""What a feed is: an iterator over batches of ticks in the order of their own time, that can go on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from portfolios.kernel.events import PriceUpdate


class FeedError(Exception):
    """The feed cannot start or go on; the message says what to do."""


class Batch(NamedTuple):
    """Ticks that leave together, `after` seconds (at speed 1) the batch before; the next waits until they arrived.

    So at most one batch is half published when the process dies, and the log itself says which half.
    """

    after: float
    ticks: list[PriceUpdate]


@dataclass(frozen=True)
class Published:
    """What has been published of a market: the `newest` event time, and each code's `last` tick near the log's end.

    `whole`: nothing of the newest moment is missing; else the feed may have died in the middle of it.
    """

    newest: datetime | None = None
    last: Mapping[str, PriceUpdate] = field(default_factory=dict)
    whole: bool = False


class Feed(Protocol):
    """`codes` is all it can tell about; it is one market's."""

    source: str
    market: str
    codes: tuple[str, ...]

    def batches(self, published: Published) -> Iterator[Batch]:
        """What comes after `published`, endlessly or until the data ends. Raises FeedError."""


def unpublished(batches: Iterable[Batch], published: Published) -> Iterator[Batch]:
    """Of a feed that always tells the same story, the part that has not been published yet.

    Unless it is whole, of the batch that holds the newest published moment what the log has is left out.
    """
    newest = published.newest
    if newest is None:
        yield from batches
        return
    for batch in batches:
        if batch.ticks[0].timestamp > newest:
            yield batch
        elif batch.ticks[-1].timestamp >= newest:
            left = [tick for tick in batch.ticks if _is_new(tick, newest, published)]
            if left:
                yield Batch(0.0, left)


def _is_new(tick: PriceUpdate, newest: datetime, published: Published) -> bool:
    if tick.timestamp > newest:
        return True
    if published.whole:
        return False
    seen = published.last.get(tick.code)
    return seen is None or tick.timestamp > seen.timestamp
