"""Whether the platform lives: each server by a short question, each process and its threads by what Redis holds of it.

No process is asked. What cannot be known without a server that is away is `unknown`.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, connection

from ginkgo_site import status
from market.engine import status as engine
from portfolios import livestate
from portfolios.counting import counts
from portfolios.models import Portfolio
from portfolios.models.portfolio import DesiredState
from scheduler import views_data

_WAIT = 1.0
_PORTS = {"mongodb": 27017, "clickhouse": 9000, "clickhouse+native": 9000}
UP, DOWN, UNKNOWN = "up", "down", "unknown"
REQUIRED = ("database", "redis", "kafka")
"""Without MongoDB and history nodes, engine and scheduler go on."""
_WELL = frozenset({"running", "starting", "draining", "drained", "stopping"})


def look() -> dict[str, Any]:
    """`{"healthy", "faults", "servers", "scheduler", "engine", "feed", "nodes", "at"}`; `faults` is why it is not."""
    now = datetime.now(UTC)
    servers = _servers()
    document: dict[str, Any] = {
        "servers": {name: {"status": servers[name], "required": name in REQUIRED} for name in servers},
        "scheduler": {"status": UNKNOWN, "last_check": None},
        "engine": {"status": UNKNOWN, "switch": UNKNOWN, "updated_at": None},
        "feed": {"status": UNKNOWN, "event_time": None},
        "nodes": [],
        "at": now,
    }
    faults = [f"{name} does not answer" for name in REQUIRED if servers[name] != UP]
    if servers["database"] == UP:
        try:
            faults += _processes(document, now)
        except DatabaseError as error:
            faults.append(f"the database lacks its tables, or does not answer ({type(error).__name__})")
    return {"healthy": not faults, "faults": faults, **document}


def _processes(document: dict[str, Any], now: datetime) -> list[str]:
    """Fills in what is known of each; what is wrong with them."""
    said = views_data.status()
    document["scheduler"] = {"status": said["scheduler_status"], "last_check": said["last_check"] or None}
    machine = engine.read(now)
    document["engine"] = {
        "status": machine["engine_status"],
        "switch": machine["switch"],
        "updated_at": machine.get("updated_at"),
    }
    look = status.overview(now)
    document["feed"] = {
        "status": _feed(look.feed, now, look.known),
        "event_time": look.feed.get("event_time") or None,
    }
    document["nodes"] = look.nodes
    if not look.known:
        return []  # that Redis is away stands there already
    faults = [f"the scheduler is {said['scheduler_status']}"] if said["scheduler_status"] != "running" else []
    if machine["engine_status"] == DOWN:
        faults.append("no engine runs")
    if machine.get("kafka") == "away":
        faults.append("Kafka does not answer the engine")
    faults += [
        f"node {node['id']} is {node['state']}" + (f": {node['health']}" if node["health"] else "")
        for node in look.nodes
        if node["state"] in _ILL
    ]
    wanted = counts(wanted=Portfolio.objects.filter(desired_state=DesiredState.RUNNING))["wanted"]
    if wanted and not any(node["state"] in _WELL for node in look.nodes):
        faults.append(f"{wanted} portfolios are to run and no node does")
    return faults


_ILL = frozenset({"missing", "unhealthy", "fenced"})


def _feed(said: dict[str, str], now: datetime, known: bool) -> str:
    if not known:
        return UNKNOWN
    age = status.age_of(said.get("updated_at"), now)
    return said.get("state", DOWN) if age is not None and age < status.FEED_IS_SILENT else DOWN


def _servers() -> dict[str, str]:
    """Each up or down, all asked at once but the database, which belongs to this thread."""
    addresses = settings.GINKGO_RESOLVE()
    questions: dict[str, Callable[[], str]] = {
        "redis": _redis,
        "kafka": lambda: _any_listens(addresses.kafka),
        "mongodb": lambda: _listens(addresses.mongodb),
        "history": lambda: _history(addresses.history),
    }
    with ThreadPoolExecutor(len(questions), thread_name_prefix="vitals") as pool:
        asked = {name: pool.submit(question) for name, question in questions.items()}
        database = _database()
        return {"database": database, **{name: answer.result() for name, answer in asked.items()}}


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError:
        return DOWN
    return UP


def _redis() -> str:
    try:
        livestate.client(timeout=_WAIT).ping()
    except (redis.RedisError, livestate.RedisUnavailable):
        return DOWN
    return UP


def _any_listens(bootstrap: str | None) -> str:
    """Of Kafka's brokers one is enough."""
    for address in (bootstrap or "").split(","):
        host, _, port = address.strip().rpartition(":")
        if host and port.isdigit() and _connects(host, int(port)):
            return UP
    return DOWN


def _listens(url: str | None) -> str:
    parts = urlsplit(url or "")
    if not parts.hostname:
        return DOWN
    return UP if _connects(parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)) else DOWN


def _history(address: str) -> str:
    if not address.startswith("sqlite"):
        return _listens(address)
    path = Path(address.removeprefix("sqlite:///"))
    if not path.is_file():
        return DOWN
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_WAIT) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return DOWN
    finally:
        database.close()
    return UP


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_WAIT):
            return True
    except OSError:
        return False
