"""Reads the log — prices, orders, answers — into the spool, with the bars they make.

Rows, offsets and bars go to the spool together; only then are the offsets true. Offsets are committed to Kafka when the
server has the rows: should this machine be lost with its spool, another one reads on from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from market import topic_admin
from market.alerting import Alerter
from market.bus import KafkaUnavailable
from market.feeds.worker import Worker
from market.history.bars import BarMaker
from market.history.rows import Row, Rows, Stand, feedback_rows, order_row, tick_row
from market.history.spool import Next, Offsets, Spool, SpoolError
from market.messages import PriceUpdate, decode_feedback, decode_order, decode_price
from market.poison import UNDECODABLE, PoisonCounter
from market.topics import MARKET_DATA, ORDERS_FEEDBACK, ORDERS_SUBMISSION

log = logging.getLogger(__name__)

GROUP = "ginkgo.history"
TOPICS = (*MARKET_DATA.values(), ORDERS_SUBMISSION, ORDERS_FEEDBACK)

_MARKET = frozenset(MARKET_DATA.values())
_READ = 5000
"""Messages in one go, so that a backlog is not brought in hundreds."""
_POLL = 0.5
_LOOK_EVERY = 30.0
"""Seconds between two looks at which topics and partitions there are."""
_RETRY = 1.0
_TIMEOUT = 10.0


class Intake(Worker):
    """`batch_rows` rows, or what has come in `batch_seconds`, are put into the spool together."""

    def __init__(
        self,
        stop: threading.Event,
        make: Callable[[], Consumer],
        spool: Spool,
        bars: BarMaker,
        alerter: Alerter,
        batch_rows: int,
        batch_seconds: float,
    ) -> None:
        super().__init__("history-intake", stop)
        self._make = make
        self._spool = spool
        self._bars = bars
        self._alerter = alerter
        self._poison = PoisonCounter(alerter)
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._consumer: Consumer | None = None
        self._ids: dict[str, str] = {}
        self._assigned: set[tuple[str, int]] = set()
        self._rows: Rows = {}
        self._count = 0
        self._offsets: Offsets = {}
        self._changed: dict[str, bytes] = {}
        self._since = float("inf")
        self._looked_at = float("-inf")

    def work(self) -> None:
        while not self.stop.is_set():
            self.step()
        self._flush()

    def close(self) -> None:
        """When nothing is committed any more."""
        if self._consumer is not None:
            self._consumer.close()

    def step(self) -> int:
        """Read what there is, and put it away if it is enough or has waited long enough; how many messages it had."""
        if self._spool.full:
            # The log keeps what is not read: nothing is dropped.
            self.stop.wait(_RETRY)
            return 0
        if time.monotonic() - self._looked_at >= _LOOK_EVERY and not self._look():
            self.stop.wait(_RETRY)
            return 0
        consumer = self._consumer
        assert consumer is not None
        messages = consumer.consume(_READ, _POLL)
        for message in messages:
            self._take(message)
        due = self._count >= self._batch_rows or time.monotonic() - self._since >= self._batch_seconds
        if due and self._offsets:
            self._flush()
        return len(messages)

    def commit(self, through: Offsets) -> None:
        """Tell Kafka up to where the server has everything. Called by another thread."""
        consumer = self._consumer
        if consumer is None or not through:
            return
        places = [
            TopicPartition(topic, partition, after.offset)
            for (topic, partition), after in through.items()
            if self._ids.get(topic) == after.log_id
        ]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            log.debug("Offsets of history were not committed, the spool knows them: %s", error)

    # One message -----------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if error is not None:
            self._on_error(error, topic, partition)
            return
        key = (topic, partition)
        log_id = self._ids[topic]
        _, produced = message.timestamp()
        stand = Stand(log_id, partition, offset, produced * 1000)
        try:
            for table, rows in self._rows_of(topic, message.value() or b"", stand).items():
                self._rows.setdefault(table, []).extend(rows)
                self._count += len(rows)
        except (*UNDECODABLE, ValueError, OverflowError) as wrong:
            self._poison.skip(topic, partition, offset, wrong)
        if not self._offsets:
            self._since = time.monotonic()
        self._offsets[key] = Next(log_id, offset + 1)

    def _rows_of(self, topic: str, value: bytes, stand: Stand) -> Rows:
        if topic in _MARKET:
            tick = decode_price(value)
            return {"ticks": [tick_row(tick, stand)], "bars": self._bars_of(topic, tick, stand)}
        if topic == ORDERS_SUBMISSION:
            return {"orders": [order_row(decode_order(value), stand)]}
        return feedback_rows(decode_feedback(value), stand)

    def _bars_of(self, topic: str, tick: PriceUpdate, stand: Stand) -> list[Row]:
        try:
            return list(self._bars.add(tick, stand))
        except (ValueError, OverflowError) as wrong:  # a time that is in no session, in the year 9999 say
            self._poison.skip(topic, stand.partition, stand.offset, wrong)
            return []

    def _flush(self) -> None:
        """Into the spool, however long that takes while its disk is full: what was read is not forgotten."""
        self._changed.update(self._bars.changed())
        while True:
            try:
                self._spool.put(self._rows, self._offsets, self._changed)
                break
            except SpoolError as error:
                self._alerter.raise_alert(
                    "history_spool", "critical", f"History waits: {error}", at_most_every=60, subject="disk"
                )
                if self.stop.wait(_RETRY):
                    return  # read again from where the spool knows
        self._rows, self._offsets, self._changed, self._count, self._since = {}, {}, {}, 0, float("inf")

    # Where to read ---------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Read all partitions of all topics, from where the last one stopped; False while Kafka does not say."""
        try:
            catalogue = topic_admin.catalogue()
            ids = {topic: catalogue[topic][0] for topic in TOPICS if topic in catalogue}
            wanted = {(topic, number) for topic in ids for number in range(catalogue[topic][1])}
            if not wanted:
                raise KafkaUnavailable("its topics do not exist: create them with 'ginkgo data init'")
            if wanted != self._assigned or ids != self._ids:
                if self._offsets:
                    self._flush()
                self._assign(wanted, ids)
        except (KafkaUnavailable, KafkaException) as error:
            log.warning("History waits for Kafka: %s", error)
            return False
        self._looked_at = time.monotonic()
        return True

    def _assign(self, wanted: set[tuple[str, int]], ids: dict[str, str]) -> None:
        if self._consumer is None:
            self._consumer = self._make()
        known = {key: after for key, after in self._spool.offsets().items() if ids.get(key[0]) == after.log_id}
        unknown = [TopicPartition(*key) for key in wanted if key not in known]
        # An empty spool may be a new machine's: then Kafka knows how far the server had everything.
        committed = {(p.topic, p.partition): p.offset for p in self._committed(unknown)} if not known else {}
        places = []
        for key in sorted(wanted):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*key), timeout=_TIMEOUT, cached=False)
            start = known[key].offset if key in known else committed.get(key, -1)
            if start > high or 0 <= start < low:
                self._on_gap(key, start, low, high)
                start = low
            begin = low if start < 0 else start
            places.append(TopicPartition(*key, begin))
            if begin and (key not in known or known[key].offset != begin):
                # Also where nothing may ever come again: what is gone from the log is nothing to wait for.
                self._offsets[key] = Next(ids[key[0]], begin)
                self._since = min(self._since, time.monotonic())
        self._ids, self._assigned = ids, wanted
        self._consumer.assign(places)
        log.info("History reads %d partitions", len(places))

    def _committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        assert self._consumer is not None
        found: list[TopicPartition] = self._consumer.committed(places, timeout=_TIMEOUT)
        return [place for place in found if place.error is None and place.offset >= 0]

    def _on_error(self, error: KafkaError, topic: str | None, partition: int | None) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._assigned = set()  # look again where it begins now
        elif error.code() != KafkaError._PARTITION_EOF:
            log.warning("History cannot read %s:%s: %s", topic, partition, error.str())
        self._looked_at = min(self._looked_at, time.monotonic() - _LOOK_EVERY + _RETRY)

    def _on_gap(self, key: tuple[str, int], start: int, low: int, high: int) -> None:
        details: dict[str, Any] = {"offset": start, "low": low, "high": high}
        self._alerter.raise_alert(
            "data_gap",
            "critical",
            f"History has lost part of its log: {key[0]}:{key[1]} has {low} to {high}, the next would be {start}",
            subject=f"{key[0]}:{key[1]}",
            **details,
        )
