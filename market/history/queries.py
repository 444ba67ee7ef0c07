"""Every question that readers ask of history, as SQL in both dialects. Text, so that a node needs no SQLAlchemy for it.

Moments go in and come out as microseconds; `codes` as a list. ClickHouse reads FINAL: of a row written twice, one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Question(NamedTuple):
    sql: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """How a dialect names a parameter, a table's rows without repetitions, a moment in microseconds, and a list."""

    name: str

    def parameter(self, name: str) -> str:
        return f":{name}" if self.name == "sqlite" else f"%({name})s"

    def rows(self, table: str) -> str:
        return table if self.name == "sqlite" else f"{table} FINAL"

    def micros(self, column: str) -> str:
        return column if self.name == "sqlite" else f"toUnixTimestamp64Micro({column})"

    def moment(self, name: str) -> str:
        return self.parameter(name) if self.name == "sqlite" else f"fromUnixTimestamp64Micro({self.parameter(name)})"

    def among(self, column: str, name: str) -> str:
        if self.name == "sqlite":
            return f"{column} IN (SELECT value FROM json_each({self.parameter(name)}))"
        return f"{column} IN {self.parameter(name)}"

    def several(self, values: Sequence[str]) -> Any:
        return json.dumps(list(values)) if self.name == "sqlite" else tuple(values)


SQLITE = Dialect("sqlite")
CLICKHOUSE = Dialect("clickhouse")


class Place(NamedTuple):
    """The next offset of a partition of the log: what lies below it is older."""

    log_id: str
    partition: int
    offset: int


_TOLD = "timestamp, recorded_at, log_partition, log_offset"
"""In the order of time; what is of one moment, as it was told."""
_MOMENTS = frozenset({"timestamp", "begins", "ends", "recorded_at"})

TICK = (
    "code", "timestamp", "price", "prev_close", "volume", "open", "high", "low", "close",
    "bid_price", "ask_price", "bid_volume", "ask_volume",
)  # fmt: skip
BAR = ("code", "begins", "timestamp", "ends", "open", "high", "low", "close", "volume", "prev_close")
EQUITY = ("timestamp", "cash", "frozen", "total_value", "position_count")
POSITION = ("code", "timestamp", "volume", "available", "cost_price", "last_price", "profit")
ORDER = (
    "order_id", "event", "timestamp", "code", "direction", "order_type", "volume", "price", "cause", "status", "reason",
    "seq", "pseq",
)  # fmt: skip
FILL = (
    "fill_id", "order_id", "timestamp", "code", "direction", "volume", "remaining_volume", "price", "amount",
    "commission", "tax", "pseq",
)  # fmt: skip


def ticks(
    d: Dialect, codes: Sequence[str], start: int | None, end: int | None, before: Place | None = None
) -> Question:
    """TICK of these codes with start <= timestamp < end, in the order of their time; `before`: none that stands there
    or later in the same log."""
    return _ask(
        d, "ticks", TICK, [d.among("code", "codes"), *_between(d, start, end), *_before(d, before)],
        _TOLD,
        codes=d.several(codes), start=start, end=end, **_place(before),
    )  # fmt: skip


def bars(d: Dialect, codes: Sequence[str], period: str, start: int | None, end: int | None) -> Question:
    """BAR of these codes whose last tick lies between, in the order of that."""
    return _ask(
        d, "bars", BAR,
        [d.among("code", "codes"), f"period = {d.parameter('period')}", *_between(d, start, end)],
        _TOLD,
        codes=d.several(codes), period=period, start=start, end=end,
    )  # fmt: skip


def last_ticks(d: Dialect, codes: Sequence[str], count: int, before: Place | None) -> list[Question]:
    """TICK, of each code so many, the newest first; `before` as in `ticks`."""
    order = "timestamp DESC, recorded_at DESC, log_offset DESC"
    return _last(d, "ticks", TICK, codes, [], order, count=count, before=before)


def last_bars(d: Dialect, codes: Sequence[str], period: str, count: int, before: Place | None) -> list[Question]:
    """BAR, of each code so many, the newest first; `before` as in `ticks`, of a bar's last tick."""
    where = [f"period = {d.parameter('period')}"]
    return _last(d, "bars", BAR, codes, where, "ends DESC", count=count, before=before, period=period)


def range_of(d: Dialect, table: str, codes: Sequence[str], period: str | None) -> Question:
    """(first, last, rows) of ticks, or of bars of a period; (0, 0, 0) or NULLs if there are none."""
    where = [d.among("code", "codes"), *([f"period = {d.parameter('period')}"] if period else [])]
    first, last = d.micros("min(timestamp)"), d.micros("max(timestamp)")
    sql = f"SELECT {first}, {last}, count(*) FROM {d.rows(table)} WHERE {' AND '.join(where)}"
    return Question(sql, _given(codes=d.several(codes), period=period))


def equity(d: Dialect, portfolio_id: str, start: int | None, end: int | None) -> Question:
    return _of_portfolio(d, "equity", EQUITY, "timestamp", portfolio_id, start, end)


def positions(d: Dialect, portfolio_id: str, at: int | None) -> Question:
    """POSITION as of a moment: of each code its last row; one that was closed has volume 0."""
    where = [f"portfolio_id = {d.parameter('portfolio_id')}"]
    if at is not None:
        where.append(f"timestamp <= {d.moment('at')}")
    condition, columns = " AND ".join(where), _columns(d, POSITION)
    if d.name == "sqlite":
        # SQLite: a bare column beside max() is of the row that has the maximum.
        chosen = ", ".join(column for column in POSITION if column != "timestamp")
        inner = f"SELECT {chosen}, max(timestamp) AS timestamp FROM positions WHERE {condition} GROUP BY code"
        sql = f"SELECT {columns} FROM ({inner}) ORDER BY code"
    else:
        rows = d.rows("positions")
        sql = f"SELECT {columns} FROM {rows} WHERE {condition} ORDER BY code, timestamp DESC LIMIT 1 BY code"
    return Question(sql, _given(portfolio_id=portfolio_id, at=at))


def orders(d: Dialect, portfolio_id: str, start: int | None, end: int | None) -> Question:
    return _of_portfolio(d, "orders", ORDER, "timestamp, pseq, order_id", portfolio_id, start, end)


def fills(d: Dialect, portfolio_id: str, start: int | None, end: int | None) -> Question:
    return _of_portfolio(d, "fills", FILL, "timestamp, pseq", portfolio_id, start, end)


def count(d: Dialect, table: str) -> Question:
    return Question(f"SELECT count(*) FROM {d.rows(table)}", {})


def _of_portfolio(
    d: Dialect, table: str, columns: Sequence[str], order: str, portfolio_id: str, start: int | None, end: int | None
) -> Question:
    where = [f"portfolio_id = {d.parameter('portfolio_id')}", *_between(d, start, end)]
    return _ask(d, table, columns, where, order, portfolio_id=portfolio_id, start=start, end=end)


def _ask(
    d: Dialect, table: str, columns: Sequence[str], where: list[str], order: str, limit: str = "", **values: Any
) -> Question:
    sql = f"SELECT {_columns(d, columns)} FROM {d.rows(table)} WHERE {' AND '.join(where)} ORDER BY {order}{limit}"
    return Question(sql, _given(**values))


def _last(
    d: Dialect,
    table: str,
    columns: Sequence[str],
    codes: Sequence[str],
    where: list[str],
    order: str,
    before: Place | None,
    **values: Any,
) -> list[Question]:
    where = [*where, *_before(d, before)]
    values |= _place(before)
    limit = f" LIMIT {d.parameter('count')}"
    if d.name == "sqlite":
        # A walk along the key a code; there is no LIMIT BY.
        condition = [f"code = {d.parameter('code')}", *where]
        return [_ask(d, table, columns, condition, order, limit, code=code, **values) for code in codes]
    condition = [d.among("code", "codes"), *where]
    order, limit = f"code, {order}", f"{limit} BY code"
    return [_ask(d, table, columns, condition, order, limit, codes=d.several(codes), **values)]


def _columns(d: Dialect, columns: Sequence[str]) -> str:
    return ", ".join(d.micros(column) if column in _MOMENTS else column for column in columns)


def _between(d: Dialect, start: int | None, end: int | None) -> list[str]:
    found = []
    if start is not None:
        found.append(f"timestamp >= {d.moment('start')}")
    if end is not None:
        found.append(f"timestamp < {d.moment('end')}")
    return found


def _before(d: Dialect, before: Place | None) -> list[str]:
    """Rows of another log, or of another partition of it, are older: it has been created anew, or grown."""
    if before is None:
        return []
    log_id, partition, offset = d.parameter("log_id"), d.parameter("log_partition"), d.parameter("log_offset")
    return [f"(log_id <> {log_id} OR log_partition <> {partition} OR log_offset < {offset})"]


def _place(before: Place | None) -> dict[str, Any]:
    if before is None:
        return {}
    return {"log_id": before.log_id, "log_partition": before.partition, "log_offset": before.offset}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
