"""The price that an order was decided on, read from the log, for codes of which the broker has seen none yet.

Without it what an order is worth could not be told, and its limits would bind only from the second one on (SPEC M2).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from market.bus import KafkaUnavailable
from market.messages import OrderSubmission, decode_price
from market.poison import UNDECODABLE
from market.pretrade import Quote
from market.topics import MARKET_DATA
from portfolios.kernel.money import to_units

log = logging.getLogger(__name__)

_CONNECTED_WITHIN = 5.0
_WITHIN = 0.5
_PAUSE = 30.0
_TOPICS = frozenset(MARKET_DATA.values())


class Causes:
    """Keeps the newest price learnt of each code. One thread at a time."""

    def __init__(self, make: Callable[[], Consumer]) -> None:
        """`make` gives a consumer for `assign()`; it is asked when first needed."""
        self._make = make
        self._consumer: Consumer | None = None
        self._known: dict[str, tuple[str, Quote]] = {}
        self._not_before = float("-inf")
        self._within = _CONNECTED_WITHIN

    def quote(self, code: str) -> Quote | None:
        """The price behind the last order of `code`; its limits are not known from it."""
        known = self._known.get(code)
        return None if known is None else known[1]

    def learn(self, orders: Iterable[OrderSubmission]) -> None:
        """Read the prices behind these orders, where they are prices of the order's own code.

        Half a second each at most, five the first time; when the log does not answer it is left alone for half a
        minute.
        """
        for order in orders:
            place = order.cause.rpartition(":")[0]
            known = self._known.get(order.code)
            if time.monotonic() < self._not_before or (known is not None and known[0] == place):
                continue
            try:
                quote = self._read(order.code, place)
            except (KafkaException, KafkaUnavailable) as error:
                log.info("What order %s was decided on cannot be read: %s", order.order_id, error)
                self._not_before = time.monotonic() + _PAUSE
                continue
            if quote is not None:
                self._known[order.code] = place, quote

    def _read(self, code: str, place: str) -> Quote | None:
        topic, partition, offset = place.rsplit(":", 2)
        if topic not in _TOPICS:
            return None
        if self._consumer is None:
            self._consumer = self._make()
        self._consumer.assign([TopicPartition(topic, int(partition), int(offset))])
        try:
            message = self._consumer.poll(self._within)
        finally:
            self._consumer.unassign()
        if message is None:
            raise KafkaException(f"{place} did not come within {self._within} s")
        self._within = _WITHIN
        if message.error() is not None or message.offset() != int(offset) or message.key() != code.encode():
            return None
        try:
            tick = decode_price(message.value())
        except UNDECODABLE:
            return None
        return Quote(to_units(tick.price), tick.timestamp) if tick.price > 0 else None
