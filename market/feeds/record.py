"""Records a market's topic to a file, with the places in the log: for a replay, and for backtests (SPEC P8)."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from market import bus
from market.bus import KafkaUnavailable
from market.feeds.base import FeedError
from market.messages import decode_price
from market.poison import UNDECODABLE
from market.topics import MARKET_DATA
from portfolios.backtest import recorded
from portfolios.kernel.events import Cause, PriceUpdate

log = logging.getLogger(__name__)

_TIMEOUT = 10.0
_BATCH = 1000

Entry = tuple[int, datetime, int, int, PriceUpdate]
"""Time of production (ms), event time, partition, offset: by these the log's messages are put in order."""


def record(market: str, file: Path, since: datetime | None = None) -> int:
    """Write the market's prices to `file` in the order of their production, from the log's beginning or from those
    produced at `since` on, to its present end. How many there were. Raises KafkaUnavailable and FeedError.
    """
    topic = MARKET_DATA[market]
    asking = bus.make_consumer("feed.record")
    try:
        spans = list(_spans(asking, topic, since))
        # A client for each partition: their messages come out of each in its order, and are merged as they come.
        entries = heapq.merge(*(_read(topic, *span) for span in spans), key=lambda entry: entry[:4])
        rows = ((tick, Cause(topic, partition, offset)) for _, _, partition, offset, tick in entries)
        with file.open("w", encoding="utf-8", newline="") as out:
            return recorded.write(rows, out)
    except KafkaException as error:
        raise KafkaUnavailable(f"topic {topic} could not be read: {error.args[0]}") from None
    except OSError as error:
        raise FeedError(f"{file}: {error.strerror or error}") from None
    finally:
        asking.close()


def _spans(consumer: Consumer, topic: str, since: datetime | None) -> Iterator[tuple[int, int, int]]:
    """(partition, first offset, end) of every partition that has any."""
    numbers = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
    if not numbers:
        raise KafkaUnavailable(f"topic {topic} does not exist: create it with 'ginkgo data init'")
    for number in sorted(numbers):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT, cached=False)
        if since is not None:
            moment = TopicPartition(topic, number, max(int(since.timestamp() * 1000), 0))
            found = consumer.offsets_for_times([moment], timeout=_TIMEOUT)[0].offset
            low = found if found >= 0 else high
        if low < high:
            yield number, low, high


def _read(topic: str, partition: int, start: int, end: int) -> Iterator[Entry]:
    consumer = bus.make_consumer("feed.record", None, **{"queued.max.messages.kbytes": 2048})
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        following = start
        while following < end:
            first = consumer.poll(_TIMEOUT)
            if first is None:
                raise KafkaUnavailable(f"{topic}:{partition} could not be read from {following}: no answer")
            for message in (first, *consumer.consume(_BATCH, 0)):
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                following = int(message.offset() or 0) + 1
                if following <= end and (entry := _entry(message)) is not None:
                    yield entry
    finally:
        consumer.close()


def _entry(message: Message) -> Entry | None:
    partition, offset = int(message.partition() or 0), int(message.offset() or 0)
    try:
        tick = decode_price(message.value() or b"")
    except UNDECODABLE as error:
        log.warning("Left out %s:%d:%d, which cannot be decoded: %s", message.topic(), partition, offset, error)
        return None
    return message.timestamp()[1], tick.timestamp, partition, offset, tick
