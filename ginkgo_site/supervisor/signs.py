"""Looks for signs of life of the platform's processes: the kernel's view of each, the nodes' heartbeats in Redis."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ginkgo_site.supervisor.frozen import Sign

_TIMEOUT = 0.5


class Signs:
    """Asks Redis at `url` for at most half a second."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )

    def look(self, pids: Mapping[str, int]) -> dict[str, Sign]:
        """One sign for each process that is there."""
        beats = self._heartbeats([name for name in pids if name.startswith("node-")])
        signs = {}
        for name, pid in pids.items():
            try:
                stopped = psutil.Process(pid).status() == psutil.STATUS_STOPPED
            except psutil.Error:
                continue
            signs[name] = Sign(pid, stopped, beats.get(name))
        return signs

    def _heartbeats(self, nodes: list[str]) -> dict[str, bool]:
        """Whether each node's heartbeat is there; nothing if Redis does not answer."""
        try:
            values = self._redis.mget([f"heartbeat:node:{node}" for node in nodes]) if nodes else []
        except redis.RedisError:
            return {}
        return {node: value is not None for node, value in zip(nodes, values, strict=True)}
