"""Publishes a feed's batches in time: paced on the monotonic clock, only what is wanted, one after the other.

Kafka away means waiting: the batch stays, in order, until it has arrived; nothing is skipped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from market import bus
from market.feeds.base import Batch
from market.feeds.status import Stats
from market.messages import encode
from market.topics import MARKET_DATA
from portfolios.kernel.events import Cause, PriceUpdate

log = logging.getLogger(__name__)

_LINGER_MS = 5
_LATE = 1.0
"""Seconds behind which a publisher gives up catching up and goes on from now."""
_SAY_AFTER = 2.0
_LAST_CHANCE = 5.0
_RETRY = 1.0


class Publisher:
    """`wanted()`: the codes to publish, None for all; `pause(seconds)` waits for a change of them, or `stop`.

    `speed`: how many times as fast as the feed's own pace. `settle`, if given, is called after each tick with its place
    in the log, and the next waits until it returns; False if `stop` came before.
    """

    def __init__(
        self,
        market: str,
        stats: Stats,
        stop: threading.Event,
        wanted: Callable[[], frozenset[str] | None],
        pause: Callable[[float], None],
        check: Callable[[], None],
        speed: float = 1.0,
        settle: Callable[[PriceUpdate, Cause], bool] | None = None,
    ) -> None:
        self._topic = MARKET_DATA[market]
        self._client_id = f"feed.{market}"
        self._stats = stats
        self._stop = stop
        self._wanted = wanted
        self._pause = pause
        self._check = check
        self._speed = speed
        self._settle = settle
        self._arrived: Cause | None = None
        self._producer: Producer | None = None

    def run(self, batches: Iterator[Batch], codes: frozenset[str]) -> bool:
        """Publish until `stop` is set (False) or the feed ends (True)."""
        due = time.monotonic()
        for batch in batches:
            due = max(due + batch.after / self._speed, time.monotonic() - _LATE)
            if not self._wait_until(due):
                return False
            waited = self._wait_for_interest(codes)
            if waited is None:
                return False
            if waited:
                due = time.monotonic()
            wanted = self._wanted()
            ticks = [tick for tick in batch.ticks if wanted is None or tick.code in wanted]
            self._stats.codes = len(codes if wanted is None else codes & wanted)
            if not (self.deliver(ticks) if self._settle is None else self._step(ticks)):
                return False
            self._stats.messages += len(ticks)
            self._stats.event_time = batch.ticks[-1].timestamp
            self._check()
        return True

    def _step(self, ticks: list[PriceUpdate]) -> bool:
        """One after the other, each when the one before is settled; False if `stop` came before."""
        for tick in ticks:
            if not self.deliver([tick]):
                return False
            assert self._settle is not None and self._arrived is not None
            if not self._settle(tick, self._arrived):
                return False
        return True

    def deliver(self, ticks: list[PriceUpdate]) -> bool:
        """All of them arrived, in this order; False if `stop` came before. Raises KafkaUnavailable."""
        while ticks:
            failed: list[int] = []
            undelivered = self._send(ticks, failed)
            if undelivered:
                self._discard()
                return False
            # An idempotent producer fails all that follows in the partition too: what is left is still in order.
            ticks = [ticks[number] for number in sorted(failed)]
            if ticks:
                self._discard()
                if self._stop.wait(_RETRY):
                    return False
        return True

    def close(self) -> None:
        self._discard()

    def _send(self, ticks: list[PriceUpdate], failed: list[int]) -> int:
        """How many had no answer when `stop` came; the places of those refused are put into `failed`."""
        producer = self._connected()

        def answered(number: int) -> Callable[[KafkaError | None, Message], None]:
            def on_delivery(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    if not failed:
                        log.warning("Kafka refused a tick, sending it again: %s", error)
                    failed.append(number)
                elif self._settle is not None:
                    self._arrived = Cause(message.topic(), message.partition(), message.offset())  # type: ignore[arg-type]

            return on_delivery

        for number, tick in enumerate(ticks):
            while True:
                try:
                    producer.produce(self._topic, key=tick.code, value=encode(tick), on_delivery=answered(number))
                    break
                except BufferError:
                    if self._flush(producer):
                        return len(ticks) - number
                except KafkaException as error:
                    log.warning("Kafka refused a tick, sending it again: %s", error)
                    failed.append(number)
                    break
        return self._flush(producer)

    def _flush(self, producer: Producer) -> int:
        """Wait until all is answered; how much is not when `stop` came."""
        since = time.monotonic()
        said = False
        left = producer.flush(0.5)
        while left and not self._stop.is_set():
            self._check()
            if not said and time.monotonic() - since > _SAY_AFTER:
                said = True
                log.warning("Kafka does not take the ticks of %s, waiting for it", self._topic)
                self._stats.state = "waiting for Kafka"
            left = producer.flush(0.5)
        if left:
            left = producer.flush(_LAST_CHANCE)
        if said and not left:
            log.warning("Kafka takes the ticks of %s again", self._topic)
            self._stats.state = "publishing"
        return int(left)

    def _wait_until(self, due: float) -> bool:
        while (left := due - time.monotonic()) > 0:
            if self._stop.wait(min(left, 1.0)):
                return False
            self._check()
        return not self._stop.is_set()

    def _wait_for_interest(self, codes: frozenset[str]) -> bool | None:
        """Whether it had to wait for somebody to want something; None if `stop` came."""
        waited = False
        while (wanted := self._wanted()) is not None and wanted.isdisjoint(codes):
            if not waited:
                log.info("Nobody is interested in the feed's %d codes yet: waiting", len(codes))
            waited = True
            self._stats.state, self._stats.codes = "waiting for interest", 0
            if self._stop.is_set():
                return None
            self._pause(0.5)
            self._check()
        self._stats.state = "publishing"
        return waited

    def _connected(self) -> Producer:
        if self._producer is None:
            self._producer = bus.make_producer(
                self._client_id,
                linger_ms=_LINGER_MS,
                # A tick waits for Kafka as long as it takes: order and completeness before age.
                **{"message.timeout.ms": 0, "reconnect.backoff.max.ms": 1000, "error_cb": self._on_error},
            )
        return self._producer

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's own retries: `_flush` says it once; a fatal error fails the messages, which are sent again."""
        log.debug("Kafka (%s): %s", self._client_id, error)

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)
