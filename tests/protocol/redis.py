"""As much of Redis as a heartbeat needs, with keys that expire by the hub's clock."""

from __future__ import annotations

from typing import Any

import redis

from tests.protocol.hub import Process, hub


class Redis:
    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._until: dict[str, float] = {}
        self.cut_off: set[Process] = set()

    def alive(self, key: str) -> bool:
        return key in self._values and self._until.get(key, float("inf")) > hub().now

    def _reach(self) -> None:
        task = hub().current
        hub().pause()
        if task is not None and task.process in self.cut_off:
            raise redis.ConnectionError("no route to host")

    def set(self, key: str, value: str, px: int | None = None, nx: bool = False) -> None:
        self._reach()
        if nx and self.alive(key):
            return
        self._values[key] = value
        if px is not None:
            self._until[key] = hub().now + px / 1000

    def hget(self, key: str, field: str) -> str | None:
        self._reach()
        value: str | None = self._values.get(key, {}).get(field)
        return value

    def delete(self, *keys: str) -> None:
        self._reach()
        for key in keys:
            self._values.pop(key, None)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        return Pipeline(self)

    def hset(self, key: str, mapping: dict[str, str]) -> None:
        self._values.setdefault(key, {}).update(mapping)


class Pipeline:
    """Only hashes count; what else is put into it is for people."""

    def __init__(self, server: Redis) -> None:
        self._server = server
        self._hashes: list[tuple[str, dict[str, str]]] = []

    def hset(self, key: str, mapping: dict[str, str]) -> None:
        self._hashes.append((key, mapping))

    def set(self, *_: Any, **__: Any) -> None: ...
    def rpush(self, *_: Any) -> None: ...
    def ltrim(self, *_: Any) -> None: ...

    def execute(self) -> None:
        self._server._reach()
        for key, mapping in self._hashes:
            self._server.hset(key, mapping)
