"""A node id belongs to one process: who is it, and may we take it (SPEC N1)."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from uuid import uuid4

import psutil
import redis

from portfolios import livestate


class NodeIdInUse(Exception):
    """Another live process runs under this node id."""


@dataclass(frozen=True)
class Identity:
    """This process as a node. `started` is the process's start (epoch seconds), which tells a recycled pid apart."""

    node_id: str
    instance: str
    host: str
    pid: int
    started: float


def of_this_process(node_id: str) -> Identity:
    process = psutil.Process()
    return Identity(node_id, str(uuid4()), socket.gethostname(), process.pid, process.create_time())


def ensure_free(me: Identity, client: redis.Redis, interval: float, stop: threading.Event | None = None) -> None:
    """Return if no live process uses this id; raise NodeIdInUse if one does.

    On this host its process is looked at; on another its heartbeat must stand still for one `interval` (and a half).
    """
    info: dict[str, str] = client.hgetall(livestate.node_info_key(me.node_id))  # type: ignore[assignment]
    if info and info.get("host") == me.host:
        if _alive(info):
            raise NodeIdInUse(f"node id {me.node_id!r} is in use: process {info['pid']} on this host runs it")
        return
    key = livestate.heartbeat_key(me.node_id)
    first = client.get(key)
    if first is None:
        return
    stop = stop or threading.Event()
    deadline = time.monotonic() + interval * 1.5
    while time.monotonic() < deadline and not stop.wait(min(0.2, interval / 5)):
        now = client.get(key)
        if now is None:
            return
        if now != first:
            raise NodeIdInUse(
                f"node id {me.node_id!r} is in use on {info.get('host', 'another host')}: its heart beats"
            )


def _alive(info: dict[str, str]) -> bool:
    try:
        process = psutil.Process(int(info["pid"]))
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE and _same_start(process, info)
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def _same_start(process: psutil.Process, info: dict[str, str]) -> bool:
    try:
        return abs(process.create_time() - float(info["process_started"])) < 2.0
    except KeyError:
        return True
