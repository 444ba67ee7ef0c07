"""Which processes have been silent for too long: stopped by a signal, or a node without a heartbeat (SPEC N6).

A process frozen in the middle of a transaction on SQLite would block all others for as long as it sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """What is seen of a process. `heard`: its heartbeat is there; None where it has none or Redis cannot tell."""

    pid: int
    stopped: bool
    heard: bool | None


class Frozen:
    """Remembers when each process last gave a sign of life. `ttl` in seconds."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._stopped_since: dict[int, float] = {}
        self._heard_at: dict[int, float] = {}

    def judge(self, signs: Mapping[str, Sign], now: float) -> list[str]:
        """The names of those silent for longer than the TTL. A heartbeat is missed only once it has been heard."""
        silent = []
        for name, sign in signs.items():
            since = self._stopped_since.setdefault(sign.pid, now) if sign.stopped else None
            if since is None:
                self._stopped_since.pop(sign.pid, None)
            if sign.heard or (sign.heard is None and sign.pid in self._heard_at):
                self._heard_at[sign.pid] = now
            heard_at = self._heard_at.get(sign.pid)
            if (since is not None and now - since > self._ttl) or (heard_at is not None and now - heard_at > self._ttl):
                silent.append(name)
        known = {sign.pid for sign in signs.values()}
        self._stopped_since = {pid: at for pid, at in self._stopped_since.items() if pid in known}
        self._heard_at = {pid: at for pid, at in self._heard_at.items() if pid in known}
        return silent
