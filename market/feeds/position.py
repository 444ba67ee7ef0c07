"""Where a market's story stands: read from the end of its topic, with Redis' word for when the topic was emptied.

The log itself is the truth, because only it knows what arrived before the feed was killed: nothing is told twice,
nothing left out, and another machine's feed finds it too. Retention can empty it while portfolios remember the time
they have seen, so the newest event time is also noted in Redis; the later of the two counts.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import redis
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from market import bus
from market.bus import KafkaUnavailable
from market.feeds.base import Published
from market.messages import decode_price
from market.poison import UNDECODABLE
from market.topics import MARKET_DATA
from portfolios import livestate
from portfolios.kernel.events import PriceUpdate

log = logging.getLogger(__name__)

_TAIL = 2000
"""Messages read from the end of each partition: far more than one batch, and enough for every code's last price."""
_TIMEOUT = 10.0


def position_key(market: str) -> str:
    return f"feed:{market}:position"


def read_position(market: str) -> Published:
    """What has been published in this market. Raises KafkaUnavailable, also when its topic does not exist."""
    last = _tails(MARKET_DATA[market])
    newest = max((tick.timestamp for tick in last.values()), default=None)
    noted = _noted(market)
    if noted is not None and (newest is None or noted >= newest):
        # Noted after the whole batch had arrived: nothing of that moment is missing.
        return Published(noted, last, whole=True)
    return Published(newest, last)


def note_position(market: str, newest: datetime) -> None:
    """Raises redis.RedisError or RedisUnavailable."""
    livestate.client().set(position_key(market), newest.isoformat())


def _noted(market: str) -> datetime | None:
    try:
        text = livestate.client().get(position_key(market))
        return datetime.fromisoformat(str(text)) if text else None
    except (redis.RedisError, livestate.RedisUnavailable, ValueError) as error:
        log.warning("Redis does not say where market %s stands, its topic does: %s", market, error)
        return None


def _tails(topic: str) -> dict[str, PriceUpdate]:
    """The last tick of each code in the last messages of each partition."""
    options: dict[str, Any] = {"enable.partition.eof": True, "error_cb": _on_error}
    consumer = bus.make_consumer("feed.position", **options)
    try:
        starts = _starts(consumer, topic)
        consumer.assign(starts)
        last: dict[str, PriceUpdate] = {}
        open_partitions = {start.partition for start in starts}
        while open_partitions:
            message = consumer.poll(_TIMEOUT)
            if message is None:
                raise KafkaUnavailable(f"the end of topic {topic} could not be read in {_TIMEOUT:.0f} s")
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition())
                continue
            if error is not None:
                raise KafkaUnavailable(f"the end of topic {topic} could not be read: {error}")
            try:
                tick = decode_price(message.value() or b"")
            except UNDECODABLE:
                continue  # Whoever lives on ticks counts and alerts it.
            if tick.code not in last or tick.timestamp >= last[tick.code].timestamp:
                last[tick.code] = tick
        return last
    except KafkaException as error:
        raise KafkaUnavailable(f"topic {topic} could not be read: {error.args[0]}") from None
    finally:
        consumer.close()


def _on_error(error: KafkaError) -> None:
    """librdkafka tries again by itself; who waits for an answer says so."""
    log.debug("Kafka (feed.position): %s", error)


def _starts(consumer: Consumer, topic: str) -> list[TopicPartition]:
    partitions = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
    if not partitions:
        raise KafkaUnavailable(f"topic {topic} does not exist: create it with 'ginkgo data init'")
    starts = []
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
        if high == OFFSET_INVALID:
            raise KafkaUnavailable(f"Kafka does not know the end of {topic}, partition {partition}")
        starts.append(TopicPartition(topic, partition, max(low, high - _TAIL)))
    return starts
