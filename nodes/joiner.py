"""Reads from the log what a portfolio has missed, up to the point from which its queue holds the rest (SPEC N7).

`plan` is the pure decision: which offsets to read, and what the log can no longer tell. `Reader` does it, at full
speed, with a Kafka client that is nobody else's meanwhile, so that a portfolio far behind holds nobody else up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from market.poison import UNDECODABLE, PoisonCounter
from nodes.subscription import Gap, Item, Position
from portfolios.kernel.events import Cause, Event

_BATCH = 2000
_PATIENCE_S = 0.05
_SILENCE_S = 30.0
"""Without a word of what is to be read: then it is given up, so that somebody is told and the start begins anew."""


@dataclass(frozen=True)
class JoinPlan:
    """`gaps` to read, and per partition why the log does not hold all of what was asked for."""

    gaps: dict[Position, Gap]
    losses: dict[Position, str]


def plan(
    wanted: Mapping[Position, int | None],
    joins: Mapping[Position, int],
    watermarks: Mapping[Position, tuple[int, int]],
    recreated: frozenset[str] = frozenset(),
) -> JoinPlan:
    """From the next offset of each partition (None: begin at the live end) to its join point.

    `watermarks` are (first offset held, end offset). A partition of a topic in `recreated`, one that no longer holds
    its offset, or whose end lies below it, is a loss: it is read from the first offset that the log does hold.
    """
    gaps: dict[Position, Gap] = {}
    losses: dict[Position, str] = {}
    for position, join in joins.items():
        start = wanted.get(position)
        if start is None:
            continue
        low, high = watermarks[position]
        if position[0] in recreated:
            losses[position], start = "the topic was created anew", low
        elif start < low:
            losses[position], start = f"offsets {start} to {low - 1} are past retention", low
        elif start > max(high, join):
            losses[position], start = f"the log ends at {high}, below offset {start}", low
        if start < join:
            gaps[position] = Gap(start, join)
    return JoinPlan(gaps, losses)


class Reader:
    """What one join does with a Kafka client, which has read other parts of the log before."""

    def __init__(self, consumer: Consumer, decode: Callable[[bytes], Event], poison: PoisonCounter) -> None:
        self._consumer = consumer
        self._decode = decode
        self._poison = poison

    def watermarks(self, positions: set[Position], timeout: float = 10.0) -> dict[Position, tuple[int, int]]:
        """(first offset held, end offset) of each. Raises KafkaException when Kafka does not say in time."""
        begins, ends = (self._offsets(positions, which, timeout) for which in (OFFSET_BEGINNING, OFFSET_END))
        return {position: (begins[position], ends[position]) for position in positions}

    def _offsets(self, positions: set[Position], which: int, timeout: float) -> dict[Position, int]:
        """One question for all partitions: as a time, Kafka takes -2 for the first offset and -1 for the end."""
        asked = [TopicPartition(topic, partition, which) for topic, partition in positions]
        answers = self._consumer.offsets_for_times(asked, timeout=timeout)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return {(answer.topic, answer.partition): answer.offset for answer in answers}

    def read(self, gaps: Mapping[Position, Gap], keys: frozenset[bytes], stop: threading.Event) -> Iterator[list[Item]]:
        """Batches of the wanted events in `gaps`, each partition in its order; ends early when `stop` is set.

        Raises KafkaException when the log no longer holds them, or does not go on.
        """
        if not gaps:
            return
        open_gaps = dict(gaps)
        trouble: KafkaError | None = None
        heard = time.monotonic()
        self._consumer.assign([TopicPartition(t, p, gap.start) for (t, p), gap in gaps.items()])
        while open_gaps and not stop.is_set():
            items: list[Item] = []
            goes_on = False
            for message in self._next():
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                        raise KafkaException(error)
                    trouble = error
                    continue
                cause = Cause(message.topic(), message.partition(), message.offset())
                topic, partition, offset = cause
                gap = open_gaps.get((topic, partition))
                if gap is None or offset < gap.start:
                    continue
                goes_on = True
                # Not by the client's own word for how far it is, which may be that of an earlier join; and not every
                # offset has a message. What comes behind the gap, or the partition's end there, says that it was all.
                following = offset + 1 if error is None else offset
                if following >= gap.end:
                    del open_gaps[topic, partition]
                if error is not None or offset >= gap.end or message.key() not in keys:
                    continue
                try:
                    items.append(Item(self._decode(message.value()), cause))
                except UNDECODABLE as failure:
                    self._poison.skip(*cause, failure)
            if items:
                yield items
            if goes_on:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                behind = ", ".join(f"{topic}:{partition}" for topic, partition in sorted(open_gaps))
                raise KafkaException(trouble or KafkaError(KafkaError._TIMED_OUT, f"nothing comes of {behind}"))
        self._consumer.unassign()

    def _next(self) -> list[Message]:
        """What has come; a call for many waits until it has all of them, or for all of its time."""
        messages: list[Message] = self._consumer.consume(_BATCH, 0)
        if messages:
            return messages
        first = self._consumer.poll(_PATIENCE_S)
        return [] if first is None else [first, *self._consumer.consume(_BATCH - 1, 0)]
