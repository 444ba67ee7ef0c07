"""Connections to MySQL under their process's name, and the end of those of a process that hangs (SPEC N6).

A process frozen inside a transaction keeps its row locks for as long as its connection lasts, and the server sees
nothing wrong with a client that is silent. Whoever has to have the rows kills the connection: the transaction is rolled
back, and the frozen process finds out when it wakes. It needs no privilege, as all of the platform is one MySQL user.
On SQLite there is nothing to register: a frozen process is the supervisor's to kill.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error as DatabaseError
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from portfolios.models import ServerConnection

log = logging.getLogger(__name__)

_NO_SUCH_THREAD = 1094
_me: list[tuple[str, str]] = []


def register_as(process: str, instance: str) -> None:
    """From now on each connection that this process opens is written down under its name."""
    _me[:] = [(process, instance)]
    connection_created.connect(_on_created, dispatch_uid="portfolios.connections")
    if connection.connection is not None:
        _on_created(connection)


def leave() -> None:
    """This process ends, or does its work under this name no more: nobody is to look for its connections."""
    connection_created.disconnect(dispatch_uid="portfolios.connections")
    mine, _me[:] = _me[:], []
    if not mine or connection.vendor != "mysql":
        return
    process, instance = mine[0]
    try:
        ServerConnection.objects.filter(process=process, instance=instance).delete()
    except DatabaseError as error:
        log.debug("The connections of %s stay written down until they are pruned: %s", process, error)
        connection.close()


def instance() -> str:
    """Under which this process registers; empty if it does not."""
    return _me[0][1] if _me else ""


def kill(process: str, but: str = "") -> int:
    """End every connection of `process`, except those of its instance `but`; how many there were.

    Raises django.db.Error when the database is away.
    """
    if connection.vendor != "mysql":
        return 0
    rows = ServerConnection.objects.filter(process=process).exclude(instance=but) if but else (
        ServerConnection.objects.filter(process=process)
    )  # fmt: skip
    found = dict(rows.values_list("connection_id", "address"))
    if not found:
        return 0
    killed = 0
    for connection_id, address in _open().items():
        if found.get(connection_id) == address:
            killed += _kill(connection_id, process)
    ServerConnection.objects.filter(connection_id__in=list(found)).delete()
    return killed


def prune() -> None:
    """Forget connections that are no more. Raises django.db.Error when the database is away."""
    if connection.vendor != "mysql":
        return
    known = dict(ServerConnection.objects.values_list("connection_id", "address"))
    there = _open()
    gone = [connection_id for connection_id, address in known.items() if there.get(connection_id) != address]
    if gone:
        ServerConnection.objects.filter(connection_id__in=gone).delete()


def _on_created(connection: Any, **_: Any) -> None:
    if connection.alias == "default" and connection.vendor == "mysql":
        _register(connection)


def _register(connection: BaseDatabaseWrapper) -> None:
    if not _me:
        return
    process, instance = _me[0]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, host FROM information_schema.processlist WHERE id = CONNECTION_ID()")
            connection_id, address = cursor.fetchone()
            cursor.execute(
                f"REPLACE INTO {ServerConnection._meta.db_table} "
                "(connection_id, process, instance, address, opened_at) VALUES (%s, %s, %s, %s, UTC_TIMESTAMP())",
                [connection_id, process[:100], instance[:64], address[:100]],
            )
    except (DatabaseError, TypeError) as error:
        # It works without; only, nobody can cut it off.
        log.warning("A connection of %s was not written down: %s", process, error)


def _open() -> dict[int, str]:
    """id → the client's address, of all connections that this user may see: its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, host FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
        return {int(connection_id): str(address) for connection_id, address in cursor.fetchall()}


def _kill(connection_id: int, process: str) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("KILL %s", [connection_id])
    except DatabaseError as error:
        if not error.args or error.args[0] != _NO_SUCH_THREAD:
            log.warning("Connection %d of %s could not be killed: %s", connection_id, process, error)
        return False
    return True
