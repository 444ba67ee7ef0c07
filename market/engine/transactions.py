"""Write transactions of the engine and the simulated exchange, one at a time where the database allows only one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_one_writer = threading.RLock()


@contextmanager
def writing() -> Iterator[None]:
    """A transaction, or part of the one that the caller is in. On SQLite this process's threads queue for it here: its
    busy handler would sleep instead.

    Raises django.db.Error when the database is away; nothing of the block has then happened.
    """
    if connection.vendor != "sqlite":
        with transaction.atomic():
            yield
        return
    with _one_writer, transaction.atomic():
        yield
