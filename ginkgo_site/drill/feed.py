"""The drills' own feed: numbered ticks of a few codes at a steady rate, through whatever happens to Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from ginkgo_site.drill.errors import DrillError
from market import bus, topics
from market.messages import PriceUpdate, encode

OPENING = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
"""Within the session of New York; event time then runs as fast as real time."""
_PRICE = 100.0


class Feed:
    """`sent` maps each code to the number of its newest tick that Kafka has; all of them are there once stopped."""

    def __init__(self, codes: Mapping[str, int], rate: float, opening: datetime = OPENING) -> None:
        """`codes`: how many ticks of each there are from one order to the next. `rate`: ticks a second, of all codes
        together.
        """
        self.sent = dict.fromkeys(codes, 0)
        self._numbers = dict.fromkeys(codes, 0)
        self._rate = rate
        self._every = dict(codes)
        self._opening = opening
        self._stop = threading.Event()
        self._failed: KafkaError | None = None
        self._thread = threading.Thread(target=self._run, name="drill_feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more ticks; returns when Kafka has all of them. Raises DrillError if it did not take one."""
        self._stop.set()
        self._thread.join(90)
        if self._thread.is_alive() or self._failed is not None or self.sent != self._numbers:
            raise DrillError(f"the drill's feed could not publish all its ticks: {self._failed or 'Kafka is away'}")

    def _run(self) -> None:
        options: dict[str, Any] = {"message.timeout.ms": 0, "reconnect.backoff.max.ms": 500, "error_cb": lambda _: None}
        producer = bus.make_producer("drill.feed", **options)
        begun = time.monotonic()
        codes, count = list(self._numbers), 0
        while not self._stop.wait(0.01):
            elapsed = time.monotonic() - begun
            while count < elapsed * self._rate:
                self._tick(producer, codes[count % len(codes)], self._opening + timedelta(seconds=count / self._rate))
                count += 1
            producer.poll(0)
        # An order is matched at the first price after its cause: the last one needs one too.
        for code in codes:
            if self._numbers[code] % self._every[code] == 0:
                self._tick(producer, code, self._opening + timedelta(seconds=count / self._rate))
        producer.flush(60)

    def _tick(self, producer: Producer, code: str, now: datetime) -> None:
        number = self._numbers[code] = self._numbers[code] + 1
        # A step up and down, so that a price is not the same as the last.
        tick = PriceUpdate(code=code, timestamp=now, price=_PRICE + (number % 3) / 100, bid_volume=number)
        producer.produce(
            topics.market_topic(code), key=code, value=encode(tick), on_delivery=self._delivered(code, number)
        )

    def _delivered(self, code: str, number: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._failed = error
            else:
                self.sent[code] = number

        return delivered
