"""`engine:live:status` in Redis: what an engine says of itself every second, and how it is read (SPEC section 3)."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market import switch
from market.alerting import Throttle
from market.engine.books import OPEN
from market.models import FencedMessage, Order, OutboxMessage
from portfolios import livestate
from portfolios.counting import counts
from portfolios.models import Portfolio
from portfolios.models.portfolio import Status

log = logging.getLogger(__name__)

_EVERY = 1.0
_COMPLAIN = 60.0
STALE = 5.0
"""Seconds without a word after which an engine counts as down."""


class StatusBoard:
    """Writes the hash every second. `more` gives what only this engine knows: broker, partitions, last order."""

    def __init__(self, more: Callable[[], dict[str, Any]]) -> None:
        self._more = more
        self._started = time.monotonic()
        self._throttle = Throttle()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.write("running")
            stop.wait(_EVERY)
        self.write("down")

    def write(self, state: str) -> None:
        """`running` is written as `stopped` while the switch is off. Redis being away is a log line a minute."""
        try:
            facts = {**from_database(datetime.now(UTC)), **self._more()}
        except DatabaseError as error:
            if self._throttle.allows("database", _COMPLAIN):
                log.warning("The engine's status lacks what the database knows: %s", error)
            close_old_connections()
            facts = self._more()
        if state == "running" and facts.get("switch") == "off":
            state = "stopped"
        facts |= {
            "engine_status": state,
            "uptime": round(time.monotonic() - self._started, 1),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "updated_at": datetime.now(UTC).isoformat(),
        }
        try:
            livestate.client(timeout=1.0).hset(
                livestate.ENGINE_STATUS, mapping={k: "" if v is None else str(v) for k, v in facts.items()}
            )
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            if self._throttle.allows("redis", _COMPLAIN):
                log.warning("The engine's status is not in Redis: %s", error)


def from_database(now: datetime) -> dict[str, Any]:
    """What MySQL knows, whether an engine runs or not. "Today" is the UTC day."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = switch.read()
    return {
        "switch": "on" if found.on else "off",
        "switched_by": found.changed_by,
        **counts(
            running_portfolios=Portfolio.objects.filter(status=Status.RUNNING),
            orders_today=Order.objects.filter(received_at__gte=midnight),
            open_orders=Order.objects.filter(state__in=OPEN),
            unpublished=OutboxMessage.objects.filter(published=False),
            fenced=FencedMessage.objects.all(),
        ),
    }


def read(now: datetime) -> dict[str, Any]:
    """The engine as of now: MySQL's facts, and what a live engine says of itself; `engine_status` is running,
    stopped (the switch is off), down (no engine has spoken for five seconds) or unknown (Redis is away).

    Raises django.db.Error when the database is away.
    """
    facts = from_database(now)
    try:
        said = spoken(now)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        return {"engine_status": "unknown", **facts, "note": f"Redis does not answer: {error}"}
    if not said["alive"]:
        return {
            "engine_status": "down",
            **facts,
            "last_order_at": said.get("last_order_at") or None,
            "updated_at": said.get("updated_at") or None,
        }
    return {
        "engine_status": "running" if facts["switch"] == "on" else "stopped",
        **facts,
        "broker": said.get("broker"),
        "uptime": float(said.get("uptime") or 0),
        "last_order_at": said.get("last_order_at") or None,
        "partitions": said.get("partitions", ""),
        "waiting_for": said.get("waiting_for", ""),
        "kafka": said.get("kafka", ""),
        "straight": int(said.get("straight") or 0),
        "host": said.get("host", ""),
        "pid": int(said.get("pid") or 0),
        "updated_at": said.get("updated_at"),
    }


def spoken(now: datetime) -> dict[str, Any]:
    """What an engine last said of itself, and whether it is `alive`. Raises redis.RedisError, RedisUnavailable."""
    said: dict[Any, Any] = livestate.client(timeout=1.0).hgetall(livestate.ENGINE_STATUS)
    alive = said.get("engine_status") not in (None, "down") and _age(said.get("updated_at", ""), now) < STALE
    return {**said, "alive": alive}


def _age(moment: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
