"""One connection to the database for many threads, one at a time: a connection for each portfolio would be too many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


class SharedConnection:
    """Not there until a thread shares its own. That thread, too, uses it only in turn: its users hold a lock."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def share(self) -> None:
        """The calling thread's own is the one, from now on."""
        own = connections[DEFAULT_DB_ALIAS]
        own.inc_thread_sharing()
        self._connection = own

    @property
    def there(self) -> bool:
        return self._connection is not None

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Within it, what the calling thread asks of the database goes by the shared one."""
        assert self._connection is not None
        own = connections[DEFAULT_DB_ALIAS]
        connections[DEFAULT_DB_ALIAS] = self._connection
        try:
            yield
        finally:
            connections[DEFAULT_DB_ALIAS] = own
