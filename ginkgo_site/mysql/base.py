"""Django's MySQL backend; a transaction whose client falls silent in its middle is rolled back by the server, and a
connection costs a few milliseconds.

A process that is frozen, or cut off, between two statements of a transaction holds the locks of what it has written,
for eight hours by default. No transaction of ours waits for anything but MySQL, so one that is idle for seconds is that
of such a process, and its successor must not wait for it (SPEC N6). Between two transactions a connection may be idle.

PyMySQL reads all of the system's certificates for each connection (35 ms of the processor, 1.2.0), also where, as by
default, none is verified. Threads of ours open one for a question now and then, by the dozen while Kafka is away.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any

from django.db.backends.mysql import base
from pymysql.connections import Connection

IDLE_S = 10
"""More than a busy machine keeps a thread waiting between two statements, and less than the TTL of a heartbeat."""


class QuickConnection(Connection):
    """Has its TLS context in common with all others that verify nothing."""

    _made = threading.Lock()
    _unverified: ssl.SSLContext | None = None

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp != {}:
            verified: ssl.SSLContext = super()._create_ssl_ctx(sslp)
            return verified
        with QuickConnection._made:
            if QuickConnection._unverified is None:
                QuickConnection._unverified = super()._create_ssl_ctx(sslp)
            return QuickConnection._unverified


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks for it in the statement that begins a transaction, and takes it back in that which follows its end."""

    connection: Any

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        return QuickConnection(**conn_params)

    def _set_autocommit(self, autocommit: bool) -> None:
        with self.wrap_database_errors:
            if self.connection.get_autocommit() != autocommit:
                wait = "DEFAULT" if autocommit else str(IDLE_S)
                self.connection.query(f"SET autocommit = {int(autocommit)}, wait_timeout = {wait}")
