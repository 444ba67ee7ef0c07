"""Django's MySQL backend; a transaction whose client falls silent in its middle is rolled back by the server.

A process that is frozen, or cut off, between two statements of a transaction holds the locks of what it has written,
for eight hours by default. No transaction of ours waits for anything but MySQL, so one that is idle for seconds is that
of such a process, and its successor must not wait for it (SPEC N6). Between two transactions a connection may be idle.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.mysql import base

IDLE_S = 10
"""More than a busy machine keeps a thread waiting between two statements, and less than the TTL of a heartbeat."""


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks for it in the statement that begins a transaction, and takes it back in that which follows its end."""

    connection: Any

    def _set_autocommit(self, autocommit: bool) -> None:
        with self.wrap_database_errors:
            if self.connection.get_autocommit() != autocommit:
                wait = "DEFAULT" if autocommit else str(IDLE_S)
                self.connection.query(f"SET autocommit = {int(autocommit)}, wait_timeout = {wait}")
