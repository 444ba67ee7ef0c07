"""The spool: a SQLite file in the home, through which every row goes on its way to history's server.

One transaction keeps a batch of rows, the offsets up to which the log has been read, and the bars being built; it is on
the disk when `put` returns. So a `kill -9` at any instruction leaves either all of a batch or nothing of it, and what
was nothing is read from the log again. A batch leaves the spool when the server has it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from market.history.rows import Row, Rows

FILE = "spool.sqlite3"

_TABLES = """
CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT, count INTEGER, rows BLOB);
CREATE TABLE IF NOT EXISTS mark (batch INTEGER, topic TEXT, number INTEGER, log_id TEXT, next INTEGER);
CREATE TABLE IF NOT EXISTS place (topic TEXT, number INTEGER, log_id TEXT, next INTEGER, PRIMARY KEY (topic, number));
CREATE TABLE IF NOT EXISTS bar (code TEXT PRIMARY KEY, state BLOB);
CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, tbl TEXT, row BLOB, reason TEXT);
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


class SpoolError(Exception):
    """It cannot be opened or written; the message says why."""


class Next(NamedTuple):
    """The next offset of a partition that has not been read, and the topic's id when that was said."""

    log_id: str
    offset: int


Offsets = dict[tuple[str, int], Next]
"""(topic, partition) → what is next."""


class Batch(NamedTuple):
    """Rows of one table on their way; `id` grows."""

    id: int
    table: str
    rows: list[Row]


@dataclass(frozen=True)
class Contents:
    """What lies in a spool: rows and bytes on their way, rows that the server refused, and how far the log was read."""

    rows: int = 0
    bytes: int = 0
    refused: int = 0
    offsets: Offsets = field(default_factory=dict)


class Spool:
    """Of one process: a second one is refused. Safe for several threads. `bound` in bytes of rows."""

    def __init__(self, folder: Path, bound: int) -> None:
        """SpoolError if the folder cannot be written to, or is another process'."""
        self.bound = bound
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = _hold(folder)
            self._db = sqlite3.connect(folder / FILE, timeout=10, isolation_level=None, check_same_thread=False)
            # FULL: a commit is on the disk, not only in the system's memory.
            self._db.executescript(
                "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _TABLES
            )
            rows, size = self._db.execute(
                "SELECT coalesce(sum(count), 0), coalesce(sum(length(rows)), 0) FROM batch"
            ).fetchone()
        except (OSError, sqlite3.Error) as error:
            raise SpoolError(f"the spool in {folder} cannot be opened: {error}") from None
        self.rows: int = rows
        self.bytes: int = size

    @property
    def full(self) -> bool:
        """Nothing more is to be put into it: the log, which keeps days of it, is the larger spool."""
        return self.bytes >= self.bound

    # What the log's reader asks ------------------------------------------------------------------------------------

    def offsets(self) -> Offsets:
        with self._lock:
            return _offsets(self._db)

    def bars(self) -> dict[str, bytes]:
        """code → the state of its bars."""
        with self._lock:
            return dict(self._db.execute("SELECT code, state FROM bar"))

    def put(self, rows: Rows, offsets: Offsets | None = None, bars: Mapping[str, bytes] | None = None) -> None:
        """Rows, how far the log was read for them, and the bars that changed: on the disk together, or SpoolError."""
        blobs = [(table, len(some), _encode(some)) for table, some in rows.items() if some]
        marks = [(topic, number, *after) for (topic, number), after in (offsets or {}).items()]
        with self._lock:
            with _transaction(self._db) as db:
                last = 0
                for blob in blobs:
                    last = db.execute("INSERT INTO batch (tbl, count, rows) VALUES (?, ?, ?)", blob).lastrowid or 0
                # Without rows of its own it is through when what came before is.
                last = last or db.execute("SELECT coalesce(max(id), 0) FROM batch").fetchone()[0]
                db.executemany("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)", marks)
                db.executemany("INSERT INTO mark VALUES (?, ?, ?, ?, ?)", [(last, *mark) for mark in marks])
                db.executemany("INSERT OR REPLACE INTO bar VALUES (?, ?)", list((bars or {}).items()))
            self.rows += sum(count for _, count, _ in blobs)
            self.bytes += sum(len(blob) for _, _, blob in blobs)

    # What the shipper asks -----------------------------------------------------------------------------------------

    def oldest(self, most: int) -> list[Batch]:
        """The oldest batches, of some `most` rows together; at least one, if there is any."""
        found: list[Batch] = []
        rows = 0
        with self._lock:
            for number, table, count, blob in self._db.execute("SELECT id, tbl, count, rows FROM batch ORDER BY id"):
                if found and rows + count > most:
                    break
                rows += count
                found.append(Batch(number, table, _decode(blob)))
        return found

    def done(self, batches: Sequence[Batch]) -> Offsets:
        """The server has them: they leave. Up to where of the log it now has everything."""
        upto = batches[-1].id
        with self._lock:
            with _transaction(self._db) as db:
                (size,) = db.execute("SELECT sum(length(rows)) FROM batch WHERE id <= ?", (upto,)).fetchone()
                db.execute("DELETE FROM batch WHERE id <= ?", (upto,))
                through: Offsets = {
                    (topic, number): Next(log_id, offset)
                    for topic, number, log_id, offset in db.execute(
                        "SELECT topic, number, log_id, next FROM mark WHERE batch <= ? ORDER BY rowid", (upto,)
                    )
                }
                db.execute("DELETE FROM mark WHERE batch <= ?", (upto,))
            self.rows -= sum(len(batch.rows) for batch in batches)
            self.bytes -= size
            if not self.rows:
                # What a long absence of the server has left behind goes back to the file system.
                self._db.execute("PRAGMA incremental_vacuum")
        return through

    def refuse(self, table: str, row: Row, reason: str) -> None:
        """Put a row aside that the server will never take; it stays in the file for whoever wants to know."""
        with self._lock:
            self._db.execute("INSERT INTO refused (tbl, row, reason) VALUES (?, ?, ?)", (table, _encode([row]), reason))

    def close(self) -> None:
        with self._lock:
            self._db.close()
            os.close(self._held)


def look(folder: Path) -> Contents:
    """What lies in a spool, seen from outside and without touching it. SpoolError if it cannot be read."""
    path = folder / FILE
    if not path.is_file():
        return Contents()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            rows, size = db.execute(
                "SELECT coalesce(sum(count), 0), coalesce(sum(length(rows)), 0) FROM batch"
            ).fetchone()
            (refused,) = db.execute("SELECT count(*) FROM refused").fetchone()
            return Contents(rows, size, refused, _offsets(db))
    except sqlite3.Error as error:
        raise SpoolError(f"the spool {path} cannot be read: {error}") from None


def writer_of(folder: Path) -> int:
    """The process that writes it now, or 0."""
    try:
        with (folder / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except (OSError, ValueError):
        return 0
    return 0


def _offsets(db: sqlite3.Connection) -> Offsets:
    rows: Iterable[Any] = db.execute("SELECT topic, number, log_id, next FROM place")
    return {(topic, number): Next(log_id, offset) for topic, number, log_id, offset in rows}


def _hold(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 20).decode() or "another process"
        os.close(descriptor)
        raise SpoolError(f"history is written by process {pid} already") from None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


class _transaction:
    """BEGIN … COMMIT, or ROLLBACK; what SQLite complains of is a SpoolError."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            return self._db
        except sqlite3.Error as error:
            raise SpoolError(f"the spool cannot be written: {error}") from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._db.execute("COMMIT")
                return
        except sqlite3.Error as refused:
            error = refused
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise SpoolError(f"the spool cannot be written: {error}") from None
