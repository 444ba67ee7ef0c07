"""The truth about a stack: not what its file says but what each server answers."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import probes, record

_TIMEOUT = 2.0
_KEYS = ("kafka", "redis", "mongodb", "database", "history", "web", "flower")


@dataclass(frozen=True)
class Answer:
    """One server: its address without secrets, whether it was given, and why it does not answer (None: it does)."""

    key: str
    address: str
    given: bool
    pid: int | None
    fault: str | None


@dataclass(frozen=True)
class Health:
    """`stale`: a file is there, but the supervisor that wrote it is dead."""

    home: Path
    running: bool
    stale: bool
    written: dict[str, Any]
    answers: tuple[Answer, ...]

    @property
    def healthy(self) -> bool:
        return self.running and all(answer.fault is None for answer in self.answers)

    def document(self) -> dict[str, Any]:
        """stack.json as it stands while its supervisor lives, and what each server answered."""
        known = {answer.key: answer.address for answer in self.answers}
        written = (
            self.written
            if self.running
            else {"home": str(self.home), "state": "stopped", "stale": self.stale, "processes": {}}
        )
        servers = {a.key: {"answers": a.fault is None, "fault": a.fault, "given": a.given} for a in self.answers}
        return {
            **dict.fromkeys(_KEYS),
            **known,
            **written,
            "running": self.running,
            "healthy": self.healthy,
            "servers": servers,
        }


def check(config: Config) -> Health:
    """Ask all servers at once; takes at most a few seconds."""
    written = record.read(config.home)
    running = record.is_alive(written)
    given = addresses.given(config)
    urls = {key: url for key, url in {**(addresses.read_stack(config.home)), **given}.items() if key in _KEYS}
    pids: dict[str, int] = written.get("processes", {}) if running else {}
    supervised = {"web": "web" in pids, "flower": "flower" in pids}
    asked = {key: url for key in _KEYS if (url := urls.get(key)) and supervised.get(key, True)}
    with ThreadPoolExecutor(len(_KEYS), thread_name_prefix="probe") as pool:
        faults = dict(zip(asked, pool.map(lambda key: _PROBES[key](asked[key]), asked), strict=True))
    answers = tuple(
        Answer(
            key,
            addresses.without_secret(url),
            _is_given(key, url, given),
            pids.get(_PROCESS.get(key, key)),
            faults[key],
        )
        for key, url in asked.items()
    )
    return Health(config.home, running, bool(written) and not running, written, answers)


def _is_given(key: str, url: str, given: dict[str, str]) -> bool:
    return key in given and not url.startswith("sqlite")


def _database(url: str) -> str | None:
    if not url.startswith("sqlite"):
        return probes.mysql(url)
    folder = Path(url.removeprefix("sqlite:///")).parent
    return None if folder.is_dir() else f"{folder} is not there"


def _history(url: str) -> str | None:
    return _database(url) if url.startswith("sqlite") else _listens(url)


def _listens(url: str) -> str | None:
    import socket

    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 9000), timeout=_TIMEOUT).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def http(url: str) -> str | None:
    """None if any page at all answers there, else why not."""
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        return None if error.code < 500 else f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
    return None


_PROCESS = {"redis": "valkey"}
_PROBES: dict[str, Callable[[str], str | None]] = {
    "kafka": probes.kafka,
    "redis": probes.redis,
    "mongodb": probes.mongodb,
    "database": _database,
    "history": _history,
    "web": http,
    "flower": http,
}
