"""History's server as its writer sees it: ClickHouse or a SQLite file, through one SQLAlchemy engine."""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException, TypeMismatchError
from clickhouse_sqlalchemy.exceptions import DatabaseException
from sqlalchemy.exc import SQLAlchemyError

from market.history import schema
from market.history.errors import HistoryAway, HistoryRefused
from market.history.rows import Row

_PATIENCE = 10
"""Seconds for a connection, and for SQLite's other writer; ClickHouse has six times that for a block."""

_DATA = frozenset({6, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 131, 321, 349})
"""ClickHouse's codes (ErrorCodes.cpp) for values it cannot read or hold; the others pass, or an operator helps."""


class Store:
    """For one thread. HistoryAway: try again later; HistoryRefused: these rows never go in."""

    def __init__(self, address: str, days: Mapping[str, int]) -> None:
        """`days`: how long the rows of each table are kept. Connects to nothing yet."""
        self._address = address
        self._days = days
        self._ready = False
        self._sqlite = address.startswith("sqlite")
        if self._sqlite:
            self._engine = sa.create_engine(address, connect_args={"timeout": _PATIENCE})
            sa.event.listen(self._engine, "connect", _pragmas)
        else:
            logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
            mark = "&" if "?" in address else "?"
            options = (
                f"connect_timeout={_PATIENCE}&send_receive_timeout={6 * _PATIENCE}&sync_request_timeout={_PATIENCE}"
            )
            self._engine = sa.create_engine(f"{address}{mark}{options}", poolclass=sa.pool.StaticPool)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Write them, whether some are there already or not. When it returns, they are there."""
        described = schema.TABLES[table]
        names = described.columns.keys()
        with self._translated():
            self._prepare()
            statement = schema.write(described, self._engine.dialect.name)
            with self._engine.begin() as connection:
                connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])

    def expire(self, now: int) -> int:
        """SQLite: delete what was recorded too long before `now` (microseconds); ClickHouse does so by itself."""
        if not self._sqlite:
            return 0
        gone = 0
        with self._translated():
            self._prepare()
            for table in schema.TABLES.values():
                before = now - self._days[table.name] * 86_400_000_000
                with self._engine.begin() as connection:
                    gone += connection.execute(sa.delete(table).where(table.columns.recorded_at < before)).rowcount
        return gone

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What drivers raise, as HistoryAway or HistoryRefused; after the former everything begins anew."""
        try:
            yield
        except (SQLAlchemyError, DatabaseException, DriverError, OSError, EOFError, *_WRONG) as error:
            cause = getattr(error, "orig", None) or error
            line = " ".join(str(cause).split("Stack trace")[0].split()) or type(cause).__name__
            self._engine.dispose()  # what was half sent is on the line
            if _is_data(cause):
                raise HistoryRefused(line) from None
            self._ready = False
            raise HistoryAway(line) from None

    def _prepare(self) -> None:
        """The database, its tables and how long rows are kept; once, and again after the server was away."""
        if self._ready:
            return
        if not self._sqlite:
            self._make_database()
        with self._engine.begin() as connection:
            for table in schema.TABLES.values():
                connection.execute(schema.create(table))
                if not self._sqlite:
                    self._set_expiry(connection, table.name)
        self._ready = True

    def _make_database(self) -> None:
        url = self._engine.url
        nowhere = sa.create_engine(url.set(database="default"), poolclass=sa.pool.NullPool)
        with nowhere.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE IF NOT EXISTS `{url.database}`"))

    def _set_expiry(self, connection: sa.Connection, table: str) -> None:
        """Only where it is another one: ClickHouse rewrites parts for it."""
        asked = sa.text("SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = :name")
        if f"toIntervalDay({self._days[table]})" not in str(connection.execute(asked, {"name": table}).scalar()):
            connection.execute(sa.text(schema.expire(table, self._days[table])))


# The drivers' codecs fail in all these ways at a value of the wrong kind.
_WRONG: tuple[type[Exception], ...] = (
    TypeMismatchError,
    struct.error,
    OverflowError,
    TypeError,
    ValueError,
    AttributeError,
)


def _is_data(error: Any) -> bool:
    """Whether it is the rows' fault."""
    if isinstance(error, ServerException):
        return error.code in _DATA
    if isinstance(error, sqlite3.Error):
        return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError)
    return isinstance(error, _WRONG)


def _pragmas(connection: Any, _: Any) -> None:
    """Readers and the writer do not wait for each other; what is committed is on the disk."""
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
