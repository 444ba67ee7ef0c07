"""The thread that tells Redis that this node lives and how it does, and renews its lease by that (SPEC N9).

Each second: dead threads are noticed, and what portfolios look like is written. Each interval: the heartbeat.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import redis

from market.alerting import Throttle
from nodes.identity import Identity
from nodes.lease import Lease
from nodes.thread import NodeThread
from portfolios import livestate, loads
from portfolios.livestate import decisions_key
from portfolios.loads import Measured
from portfolios.models.portfolio import Status

log = logging.getLogger(__name__)

_TICK = 1.0
DECISIONS_KEPT = 500
_LEFT_KEPT = 86_400
"""Seconds for which it can be read that a node left in order: a scheduler that is away for longer raises an alert."""


class Heartbeat(NodeThread):
    """`interval` and `ttl` in seconds. What it writes it asks for, so that it knows nothing of the node."""

    def __init__(
        self,
        identity: Identity,
        lease: Lease,
        interval: float,
        ttl: float,
        info: Callable[[], Mapping[str, str]],
        metrics: Callable[[], Mapping[str, str]],
        views: Callable[[], Mapping[str, tuple[Mapping[str, str], list[bytes]]]],
        watch: Callable[[], None],
        on_replaced: Callable[[], None],
        measured: Callable[[], Mapping[str, Measured]] = dict,
    ) -> None:
        super().__init__(f"heartbeat_{identity.node_id}")
        self._identity = identity
        self._lease = lease
        self._interval = interval
        self._ttl = ttl
        self._info = info
        self._metrics = metrics
        self._views = views
        self._watch = watch
        self._on_replaced = on_replaced
        self._measured = measured
        self._seen: dict[str, Mapping[str, str]] = {}
        self._throttle = Throttle()
        self._next_beat = float("-inf")
        self._ours = False
        self._beating = threading.Lock()

    def client(self) -> redis.Redis:
        """Answers within a fraction of the interval, so that a beat that hangs does not cost the lease."""
        return livestate.client(timeout=max(0.2, min(3.0, self._interval / 3)))

    def work(self) -> None:
        while not self.stopping.is_set():
            self.step()
            # To the moment of the next beat, not past it: a beat late by a tick could cost the lease.
            self.stopping.wait(max(0.01, min(_TICK, self._interval / 2, self._next_beat - time.monotonic())))

    def hurry(self) -> None:
        """There is something to tell that must not wait for the next beat. For `watch`, which comes before it."""
        self._next_beat = float("-inf")

    def step(self) -> None:
        self._watch()
        try:
            if (now := time.monotonic()) >= self._next_beat:
                self._next_beat = now + self._interval / 4  # if it fails, try again soon
                self.beat()
                self._next_beat = now + self._interval
            self._publish()
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            if self._throttle.allows("redis", 10):
                log.warning(
                    "Redis was not told that %s lives (lease: %.1f s left): %s", self.name, self._lease.left, error
                )

    def tell(self) -> None:
        """Beat now, in the caller's thread: when it returns, Redis says what `info` says, or does not answer."""
        try:
            self.beat()
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("Redis was not told how %s does: %s", self._identity.node_id, error)

    def beat(self) -> None:
        """Write the heartbeat, then the rest. The lease counts from before the write began.

        Another process may have taken this id while we were frozen and our heartbeat was gone: then it is not ours.
        One after the other: what an earlier one has to say must not be written after a later one's.
        """
        with self._beating:
            self._beat()

    def _beat(self) -> None:
        begun = self._lease.now()
        node_id = self._identity.node_id
        client = self.client()
        if self._ours and not self._is_ours(client):
            self._on_replaced()
            return
        if not self._ours:
            client.delete(livestate.node_left_key(node_id))
        client.set(livestate.heartbeat_key(node_id), datetime.now(UTC).isoformat(), px=int(self._ttl * 1000))
        self._lease.renew(begun)
        pipe = client.pipeline(transaction=False)
        pipe.hset(livestate.node_info_key(node_id), mapping=_hash(self._info()))
        pipe.hset(livestate.metrics_key(node_id), mapping=_hash(self._metrics()))
        pipe.execute()
        self._ours = True
        log.debug("Heartbeat sent to Redis: %s", livestate.heartbeat_key(node_id))

    def _publish(self) -> None:
        views = self._views()
        if not views:
            self._seen = {}
            return
        now = datetime.now(UTC).isoformat()
        client = self.client()
        pipe = client.pipeline(transaction=False)
        for portfolio_id, (view, decisions) in views.items():
            # Each look makes a new one. One that its portfolio no longer renews must grow old: nobody looked.
            if self._seen.get(portfolio_id) is not view:
                pipe.hset(livestate.state_key(portfolio_id), mapping=_hash({**view, "updated_at": now}))
            # Told at each transition; again only if Redis has lost it.
            pipe.set(livestate.status_key(portfolio_id), Status.RUNNING, nx=True)
            if decisions:
                key = decisions_key(portfolio_id)
                pipe.rpush(key, *decisions)
                pipe.ltrim(key, -DECISIONS_KEPT, -1)
        pipe.hset(livestate.metrics_key(self._identity.node_id), mapping=_hash(self._metrics()))
        pipe.execute()
        self._seen = {portfolio_id: view for portfolio_id, (view, _) in views.items()}
        loads.write(client, self._measured())

    def leave(self) -> None:
        """Say that this node goes in order, and delete its keys: a node that dies, or a Redis that loses them, deletes
        keys too. Redis being away is a log line; the keys then expire or are swept.
        """
        node_id = self._identity.node_id
        try:
            client = self.client()
            if not (self._ours and self._is_ours(client)):
                return
            client.set(livestate.node_left_key(node_id), self._identity.instance, px=_LEFT_KEPT * 1000)
            client.delete(
                livestate.heartbeat_key(node_id), livestate.metrics_key(node_id), livestate.node_info_key(node_id)
            )
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("The keys of %s stay in Redis until they expire: %s", node_id, error)

    def _is_ours(self, client: redis.Redis) -> bool:
        """Nobody else says that this id is theirs. (Nothing there at all: Redis has lost it, or it has expired.)"""
        instance = client.hget(livestate.node_info_key(self._identity.node_id), "instance")
        return instance in (None, self._identity.instance)


def _hash(fields: Mapping[str, str]) -> Any:
    """A hash as redis-py's types want it (their dict is invariant in its key)."""
    return dict(fields)
