"""The servers behind a drill's cluster: where they are, and which of them may be killed.

Embedded ones are the drill's own. Given ones are somebody's: they are cut off by proxies in front of them, and killed
only where `DRILL_KILLS` is set, which says that they run on this machine for drills, and that whoever set it
starts them again (`make drill-servers` does).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

import psutil
from django.conf import settings
from django.db import connection

from ginkgo_site.drill.errors import DrillError
from ginkgo_site.stack import probes, record
from market import bus
from portfolios import livestate

KILLS = "DRILL_KILLS"
DISK = "DRILL_DISK"
"""A folder on a small disk of its own on which the given database keeps its files: a drill may fill it."""
LOCAL = "127.0.0.1"
_EMBEDDED = {"kafka": "kafka", "redis": "valkey"}
_PROGRAMS = {"redis": ("redis", "valkey"), "mysql": ("mariadbd", "mysqld")}


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def addresses() -> dict[str, Address]:
    """The servers that a proxy may stand before. A Kafka tells its clients where it is: one on this machine, alone and
    named by its number, can be made to tell them otherwise (see `proxy.KafkaProxy`).
    """
    options = livestate.client().connection_pool.connection_kwargs
    found = {"redis": Address(str(options["host"]), int(options["port"]))}
    mysql = settings.GINKGO.mysql
    if mysql.host is not None:
        found["mysql"] = Address(mysql.host, mysql.port)
    host, _, port = bus.bootstrap().partition(":")
    if host == LOCAL and port.isdecimal():
        found["kafka"] = Address(host, int(port))
    return found


def pid(home: Path, name: str) -> int | None:
    """The process of `kafka`, `redis` or `mysql` if it is ours to kill, else None. Raises if it does not answer."""
    embedded: int | None = record.read(home).get("processes", {}).get(_EMBEDDED.get(name, name))
    if embedded is not None or not os.environ.get(KILLS):
        return embedded
    if name == "redis":
        return _checked(name, int(livestate.client().info("server")["process_id"]))  # type: ignore[index]
    if name == "mysql" and connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir, @@pid_file")
            folder, file = cursor.fetchone()
        return _checked(name, int((Path(folder) / file).read_text()))
    return None


def kill(home: Path, name: str) -> int:
    """kill -9; whoever keeps it starts it again. Its number was. Raises DrillError if it is not ours to kill."""
    number = pid(home, name)
    if number is None:
        raise DrillError(f"{name} is given: it is not ours to kill")
    os.kill(number, signal.SIGKILL)
    return number


def is_back(home: Path, name: str, was: int) -> bool:
    """Whether another process than `was` serves. Raises what its client raises while it does not."""
    now = pid(home, name)
    return now not in (None, was) and (name != "kafka" or probes.kafka(bus.bootstrap()) is None)


def _checked(name: str, number: int) -> int:
    """A number that a server told us is a process of this machine of that kind, or nothing is killed by it."""
    try:
        program = psutil.Process(number).name()
    except psutil.NoSuchProcess:
        program = ""
    if not program.startswith(_PROGRAMS[name]):
        raise DrillError(f"{KILLS} is set, but {name} (process {number}) does not run on this machine")
    return number
