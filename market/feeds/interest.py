"""Which codes somebody wants: the union over the nodes, as they say it on `system.events` (SPEC N3).

A node repeats its interest every minute; an interest outlives its node, or the node's own word, by ten minutes: whoever
goes on with the portfolio finds its ticks. Every eight hours, and at start, everybody is asked to say it anew.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime

from market import bus, topics
from market.alerting import Alerter
from market.bus import KafkaUnavailable
from market.control import ControlConsumer, ControlPublisher
from market.feeds.worker import Worker
from market.messages import InterestSyncRequest, InterestUpdate, decode_system
from market.poison import UNDECODABLE, PoisonCounter

log = logging.getLogger(__name__)

OUTLIVES = 600.0
"""Seconds. A portfolio that changes hands is wanted by nobody for a moment, and what is not published then it misses.
This is longer than any hand-over takes, be it planned, a restart, or the failover of a node that died."""
RESYNC = 8 * 3600.0
_ASK_AGAIN = 5.0
_REFRESH = 5.0


class InterestBook:
    """Who wants what, as of when. Times in seconds of one monotonic clock, given by the caller. Not thread-safe."""

    def __init__(self, outlives: float = OUTLIVES) -> None:
        self._outlives = outlives
        self._wants: dict[str, tuple[frozenset[str], float]] = {}
        self._withdrawn: dict[str, float] = {}

    def hear(self, update: InterestUpdate, now: float) -> None:
        before, _ = self._wants.get(update.node_id, (frozenset(), 0.0))
        said = frozenset(update.codes) if update.full else before
        wanted = (said | set(update.added)) - set(update.removed)
        self._wants[update.node_id] = (wanted, now)
        self._withdrawn.update(dict.fromkeys(before - wanted, now))

    def forget_the_old(self, now: float) -> None:
        """Nodes not heard of for ten minutes want nothing any more; nor does anybody want what was withdrawn then."""
        self._wants = {node: want for node, want in self._wants.items() if now - want[1] <= self._outlives}
        self._withdrawn = {code: at for code, at in self._withdrawn.items() if now - at <= self._outlives}

    def wanted(self) -> frozenset[str]:
        """What a node wants now, and what one wanted until lately: its portfolio may be on its way to another."""
        return frozenset(self._withdrawn).union(*(codes for codes, _ in self._wants.values()))


class InterestListener(Worker):
    """The thread that keeps the book; `wanted` is replaced whole, so readers take no lock."""

    def __init__(self, market: str, stop: threading.Event) -> None:
        super().__init__(f"feed_interest_{market}", stop)
        self._market = market
        self._poison = PoisonCounter(Alerter(f"feed.{market}", bus.make_producer(f"feed.{market}.alerts")))
        self._book = InterestBook()
        self._lock = threading.Lock()
        self._refreshed = 0.0
        self._consumer = ControlConsumer([topics.SYSTEM_EVENTS], client_id=f"feed.{market}.interest", stop=stop)
        self._asker = _Asker(market, self._consumer.ready, stop)
        self.wanted: frozenset[str] = frozenset()
        self.changed = threading.Event()
        """Set whenever `wanted` may have changed; whoever waits on it clears it."""

    def start(self) -> None:
        super().start()
        self._asker.start()

    def check(self) -> None:
        super().check()
        self._asker.check()
        if time.monotonic() - self._refreshed > _REFRESH:
            self._refresh(time.monotonic())

    def work(self) -> None:
        for record in self._consumer:
            try:
                event = decode_system(record.value)
            except UNDECODABLE as error:
                self._poison.skip(record.topic, record.partition, record.offset, error)
                continue
            if isinstance(event, InterestUpdate):
                with self._lock:
                    self._book.hear(event, time.monotonic())
                self._refresh(time.monotonic())

    def _refresh(self, now: float) -> None:
        with self._lock:
            self._refreshed = now
            self._book.forget_the_old(now)
            wanted = self._book.wanted()
            if wanted != self.wanted:
                self.wanted = wanted
                self.changed.set()


class _Asker(Worker):
    """Asks every node for its interest: once the listener hears, and every eight hours."""

    def __init__(self, market: str, ready: threading.Event, stop: threading.Event) -> None:
        super().__init__(f"feed_asker_{market}", stop)
        self._market = market
        self._ready = ready

    def work(self) -> None:
        publisher = ControlPublisher(f"feed.{self._market}.asker")
        try:
            while not self._ready.wait(0.1):
                if self.stop.is_set():
                    return
            while not self.stop.is_set():
                request = InterestSyncRequest(timestamp=datetime.now(UTC), market=self._market)
                try:
                    publisher.publish(topics.SYSTEM_EVENTS, f"feed.{self._market}", request)
                    self.stop.wait(RESYNC)
                except KafkaUnavailable as error:
                    log.warning("The feed could not ask for interest, asking again: %s", error)
                    self.stop.wait(_ASK_AGAIN)
        finally:
            publisher.close()
