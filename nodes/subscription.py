"""One portfolio's place in a log consumer: its queue, and where it was halted when the queue was full.

Two threads meet here without a lock. Only the consumer thread appends, counts `put`, sets `halted` and `tail`; only the
portfolio's processor pops and counts `taken`; `halted` is lifted through the consumer's own mailbox. `halted` is set
after what was still queued, so who sees it set and then finds the queue empty has all that came before it. The
processor sets `policy`; the consumer thread reads it once for each arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from nodes.backpressure import WARNING_AT, Policy
from portfolios.kernel.events import Cause, Event

Position = tuple[str, int]
"""(topic, partition)."""


class Item(NamedTuple):
    """An event and where it stands in the log."""

    event: Event
    cause: Cause


class Gap(NamedTuple):
    """What is to be read from the log itself: `[start, end)` of one partition."""

    start: int
    end: int


class Subscription:
    """Keys (as bytes, as they come) one portfolio wants from one consumer, and what waits for it."""

    def __init__(
        self, portfolio_id: str, keys: frozenset[bytes], policy: Policy | None, limit: int, wake: Callable[[], None]
    ) -> None:
        self.portfolio_id = portfolio_id
        self.keys = keys
        self.policy = policy
        self.limit = limit
        self.wake = wake
        self.batches: deque[list[Item]] = deque()
        self.put = 0
        self.taken = 0
        self.overrun = 0
        """`put` when it last could not take all that came."""
        self.halted: dict[Position, int] | None = None
        self.tail: dict[str, Item] = {}
        self.dropped = 0
        self.pressure = 0

    @property
    def whole(self) -> bool:
        """Every event routed so far is or was in the queue: none was left in the log, none waits in the conflated tail.

        To be asked before the queue is looked at: see `flush`.
        """
        return self.halted is None and not self.tail

    @property
    def queued(self) -> int:
        """Events waiting: a moment's truth, never negative for the thread that asks."""
        return self.put - self.taken

    def has_room(self, arriving: int) -> bool:
        """Whether that many more events raise no alarm; also if waiting for room would be of no use: once halted, and
        as long as its processor has not even taken what was queued when it last overflowed.
        """
        return (
            self.halted is not None
            or not self.limit
            or self.queued + arriving < self.limit * WARNING_AT
            or self.taken < self.overrun
        )

    def parts(self, items: list[Item]) -> list[list[Item]]:
        """In order, in lists that an empty queue has room for."""
        size = max(1, self.limit // 2)
        return [items[at : at + size] for at in range(0, len(items), size)]

    def pop(self) -> list[Item] | None:
        """The oldest batch, or None. Call `took` when all of it is applied."""
        try:
            return self.batches.popleft()
        except IndexError:
            return None

    def put_back(self, items: list[Item]) -> None:
        """The rest of a batch: it is the oldest again."""
        self.batches.appendleft(items)

    def took(self, count: int) -> None:
        self.taken += count

    def conflate(self, items: list[Item]) -> None:
        """Keep the newest of each code, in the order in which those came: offsets must not go backwards."""
        for item in items:
            code = item.event.code  # type: ignore[union-attr]
            self.tail.pop(code, None)  # type: ignore[arg-type]
            self.tail[code] = item  # type: ignore[index]

    def flush(self) -> None:
        """The tail becomes the last batch of the queue: there first, so that no moment finds it in neither."""
        if self.tail:
            self.extend(list(self.tail.values()))
            self.tail = {}

    def keep(self, positions: Collection[Position]) -> None:
        """Let go of what is queued of other partitions. By the consumer thread, while the processor waits for it."""
        self.flush()
        kept: deque[list[Item]] = deque()
        for batch in self.batches:
            items = [item for item in batch if (item.cause.topic, item.cause.partition) in positions]
            self.taken += len(batch) - len(items)
            if items:
                kept.append(items)
        self.batches = kept

    def read_again(self, following: Mapping[Position, int]) -> None:
        """Halt those of these partitions at their next offsets of which something is queued or left in the log; what is
        queued of them is let go of. As `keep`.
        """
        waiting = {(item.cause.topic, item.cause.partition) for batch in self.batches for item in batch}
        again = {p: offset for p, offset in following.items() if p in waiting or p in (self.halted or {})}
        if again:
            self.keep(waiting - again.keys())
            self.halted = {**(self.halted or {}), **again}
            self.wake()

    def extend(self, items: list[Item]) -> None:
        self.put += len(items)
        self.batches.append(items)
        self.wake()
