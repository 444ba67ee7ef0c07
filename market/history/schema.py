"""The history tables, described once with SQLAlchemy Core for ClickHouse and for SQLite.

Each row has a natural key, the same however often the row is written: a tick is its place in the log, a bar its code,
period and end, a fill its id. SQLite keeps the key unique; ClickHouse's ReplacingMergeTree is ordered by it, and
readers say FINAL. So a batch whose answer was lost is simply written again, cut as it may be, and each row is there
once. (An insert_deduplication_token would hold only for the same block, and only within the server's window.)

Moments are microseconds since 1970 in Python and in SQLite, DateTime64(6) in ClickHouse. Prices and amounts are the
wire's numbers (doubles): the books themselves are in MySQL. `recorded_at` is when Kafka got the message, so a row is
the same each time it is made, and a replay of 2019 does not expire at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from clickhouse_sqlalchemy import engines, types
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

METADATA = sa.MetaData()

DAYS: Mapping[str, int] = {
    "ticks": 90,
    "bars": 3650,
    "equity": 3650,
    "positions": 3650,
    "orders": 3650,
    "fills": 3650,
}
"""How long rows are kept after they were recorded, where the configuration says nothing else."""

_WORD = sa.String().with_variant(types.LowCardinality(types.String), "clickhouse")
_TEXT = sa.String().with_variant(types.String(), "clickhouse")
_MOMENT = sa.BigInteger().with_variant(types.DateTime64(6, "UTC"), "clickhouse")
_INTEGER = sa.BigInteger().with_variant(types.Int64(), "clickhouse")
_NUMBER = sa.Float().with_variant(types.Float64(), "clickhouse")
_NO_INTEGER = sa.BigInteger().with_variant(types.Nullable(types.Int64()), "clickhouse")
_NO_NUMBER = sa.Float().with_variant(types.Nullable(types.Float64()), "clickhouse")
_NO_TEXT = sa.String().with_variant(types.Nullable(types.String()), "clickhouse")


def _table(name: str, key: str, columns: Mapping[str, Any], newest_by: str | None = None) -> sa.Table:
    """`key`: what a row is known by. Of two rows with the same key that of the larger `newest_by` stays, or any."""
    keys = key.split()
    nullable = (_NO_INTEGER, _NO_NUMBER, _NO_TEXT)
    return sa.Table(
        name,
        METADATA,
        *(
            sa.Column(column, kind, primary_key=column in keys, nullable=kind in nullable, autoincrement=False)
            for column, kind in columns.items()
        ),
        engines.ReplacingMergeTree(
            version=newest_by,
            partition_by=sa.text("toYYYYMM(recorded_at)"),
            order_by=[sa.text(column) for column in keys],
            ttl=sa.text(f"toDateTime(recorded_at) + toIntervalDay({DAYS[name]})"),
        ),
        # The rows lie in the order of their key, as in ClickHouse, and not in that of their arrival.
        sqlite_with_rowid=False,
        info={"newest_by": newest_by},
    )


_PLACE = {"log_id": _WORD, "log_partition": _INTEGER, "log_offset": _INTEGER, "recorded_at": _MOMENT}
"""Where a message stands in the log; `log_id` is Kafka's id of the topic, another one if it was created anew."""

TICKS = _table(
    "ticks",
    "code timestamp log_id log_partition log_offset",
    {
        "code": _WORD,
        "timestamp": _MOMENT,
        "price": _NUMBER,
        "prev_close": _NO_NUMBER,
        "volume": _NO_INTEGER,
        "open": _NO_NUMBER,
        "high": _NO_NUMBER,
        "low": _NO_NUMBER,
        "close": _NO_NUMBER,
        "bid_price": _NO_NUMBER,
        "ask_price": _NO_NUMBER,
        "bid_volume": _NO_INTEGER,
        "ask_volume": _NO_INTEGER,
        **_PLACE,
    },
)

BARS = _table(
    "bars",
    "code period ends",
    {
        "code": _WORD,
        "period": _WORD,
        "ends": _MOMENT,
        "begins": _MOMENT,
        "timestamp": _MOMENT,
        "open": _NUMBER,
        "high": _NUMBER,
        "low": _NUMBER,
        "close": _NUMBER,
        "volume": _NO_INTEGER,
        "prev_close": _NO_NUMBER,
        **_PLACE,
    },
    newest_by="recorded_at",
)
"""Complete bars. `begins` and `timestamp` are the times of its first and last tick; its place is the last one's."""

EQUITY = _table(
    "equity",
    "portfolio_id timestamp",
    {
        "portfolio_id": _TEXT,
        "timestamp": _MOMENT,
        "cash": _NUMBER,
        "frozen": _NUMBER,
        "total_value": _NUMBER,
        "position_count": _INTEGER,
        "recorded_at": _MOMENT,
    },
    newest_by="recorded_at",
)
"""`timestamp` is the time of the events the portfolio has seen; `recorded_at`, when its node told."""

POSITIONS = _table(
    "positions",
    "portfolio_id code timestamp",
    {
        "portfolio_id": _TEXT,
        "code": _WORD,
        "timestamp": _MOMENT,
        "volume": _INTEGER,
        "available": _INTEGER,
        "cost_price": _NUMBER,
        "last_price": _NUMBER,
        "profit": _NUMBER,
        "recorded_at": _MOMENT,
    },
    newest_by="recorded_at",
)
"""As of a checkpoint; a position that was closed has one row of volume 0."""

ORDERS = _table(
    "orders",
    "portfolio_id order_id event_id",
    {
        "portfolio_id": _TEXT,
        "order_id": _TEXT,
        "event_id": _TEXT,
        "event": _WORD,
        "timestamp": _MOMENT,
        "code": _NO_TEXT,
        "direction": _NO_INTEGER,
        "order_type": _NO_TEXT,
        "volume": _NO_INTEGER,
        "price": _NO_NUMBER,
        "cause": _NO_TEXT,
        "status": _NO_TEXT,
        "reason": _NO_TEXT,
        "seq": _INTEGER,
        "pseq": _INTEGER,
        **_PLACE,
    },
)
"""All that was said about an order: its submission (`event_id` is the order's), cancels (theirs), and answers (`pseq`).
What is sent again has the same key."""

FILLS = _table(
    "fills",
    "portfolio_id timestamp fill_id",
    {
        "portfolio_id": _TEXT,
        "timestamp": _MOMENT,
        "fill_id": _TEXT,
        "order_id": _TEXT,
        "code": _WORD,
        "direction": _INTEGER,
        "volume": _INTEGER,
        "remaining_volume": _INTEGER,
        "price": _NUMBER,
        "amount": _NUMBER,
        "commission": _NUMBER,
        "tax": _NUMBER,
        "pseq": _INTEGER,
        **_PLACE,
    },
)

TABLES: Mapping[str, sa.Table] = {table.name: table for table in (TICKS, BARS, EQUITY, POSITIONS, ORDERS, FILLS)}


def create(table: sa.Table) -> CreateTable:
    """Its DDL in whatever dialect compiles it; an existing table stays as it is."""
    return CreateTable(table, if_not_exists=True)


def expire(table: str, days: int) -> str:
    """ClickHouse: rows of a table are kept for so many days from now on."""
    return f"ALTER TABLE {table} MODIFY TTL toDateTime(recorded_at) + toIntervalDay({days})"


def write(table: sa.Table, dialect: str) -> sa.Insert:
    """What writes rows (a list of dicts), whether they are there already or not."""
    if dialect != "sqlite":
        return sa.insert(table)
    newest_by: str | None = table.info["newest_by"]
    insert = sqlite.insert(table)
    if newest_by is None:
        # Not OR IGNORE: that would pass over a row that lacks a value, too, and nobody would know.
        return insert.on_conflict_do_nothing(index_elements=list(table.primary_key.columns))
    others = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=others,
        where=insert.excluded[newest_by] >= table.columns[newest_by],
    )
