"""The thread that says on `system.events` that this node is there, and which codes it wants (SPEC N3).

Interest goes out at once when it changes, in full every minute, and when a feed asks for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from market import topics
from market.bus import KafkaUnavailable
from market.control import ControlPublisher
from market.messages import InterestUpdate, NodeOffline, NodeOnline, SystemEvent
from nodes.thread import NodeThread

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2
_RETRY_AFTER = 2.0


def change(node_id: str, before: frozenset[str], after: frozenset[str], now: datetime) -> InterestUpdate | None:
    """The message that takes a listener from `before` to `after`; None if there is nothing to say."""
    if before == after:
        return None
    return InterestUpdate(timestamp=now, node_id=node_id, added=sorted(after - before), removed=sorted(before - after))


class Announcer(NodeThread):
    """`keys` are the codes wanted now; `interval` seconds between two full announcements."""

    def __init__(self, node_id: str, instance: str, keys: Callable[[], frozenset[str]], interval: float) -> None:
        super().__init__(f"announcer_{node_id}")
        self._node_id = node_id
        self._instance = instance
        self._keys = keys
        self._interval = interval
        self._publisher = ControlPublisher(f"{node_id}.announcer")
        self._requested = threading.Event()
        self._told: frozenset[str] = frozenset()
        self._full_at = float("-inf")
        self._online = False
        self.kafka_reachable = True

    def request(self) -> None:
        """A feed asks what we want: tell all of it, now."""
        self._requested.set()

    def work(self) -> None:
        try:
            while not self.stopping.is_set():
                pause = _LOOK_EVERY if self.step() else _RETRY_AFTER
                self.stopping.wait(pause)
            if self._online:
                self._say(
                    NodeOffline(timestamp=_now(), node_id=self._node_id, instance=self._instance, reason="stopped")
                )
        finally:
            self._publisher.close()

    def step(self) -> bool:
        """Say what is to be said; False if Kafka did not take it (it is said again later)."""
        if not self._online:
            if not self._say(NodeOnline(timestamp=_now(), node_id=self._node_id, instance=self._instance)):
                return False
            self._online = True
        keys = self._keys()
        now = time.monotonic()
        if self._requested.is_set() or now - self._full_at >= self._interval:
            self._requested.clear()
            told = self._say(InterestUpdate(timestamp=_now(), node_id=self._node_id, full=True, codes=sorted(keys)))
            if told:
                self._full_at = now
        else:
            update = change(self._node_id, self._told, keys, _now())
            told = update is None or self._say(update)
        if told:
            self._told = keys
        else:
            self._full_at = float("-inf")  # it may have arrived or not: all of it, next time
        return told

    def _say(self, event: SystemEvent) -> bool:
        try:
            self._publisher.publish(topics.SYSTEM_EVENTS, self._node_id, event)
        except KafkaUnavailable as error:
            if self.kafka_reachable:
                log.warning("%s cannot announce itself: %s", self._node_id, error)
            self.kafka_reachable = False
            return False
        self.kafka_reachable = True
        return True


def _now() -> datetime:
    return datetime.now(UTC)
