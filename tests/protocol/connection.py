"""In the place of django.db.transaction and django.db.connection, over the in-memory database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tests.protocol.database import Row, Transaction, current, database
from tests.protocol.query import Query


class _Atomic:
    __slots__ = ("_outer", "_transaction")

    def __enter__(self) -> None:
        open_now = current()
        self._outer = open_now is None
        if open_now is None:
            self._transaction = database().begin()
        else:
            self._transaction = open_now

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._outer:
            database().end(self._transaction, commit=kind is None)
        elif kind is not None:
            self._transaction.doomed = True


class TransactionModule:
    atomic = _Atomic

    @staticmethod
    def set_rollback(rollback: bool) -> None:
        transaction = current()
        assert transaction is not None
        transaction.rollback = rollback


class _Operations:
    @staticmethod
    def adapt_datetimefield_value(value: Any) -> Any:
        return value


_SET = re.compile(r"(\w+) = (%s|CASE portfolio_id (?:WHEN %s THEN %s )+END)")
_JSON = ("offsets", "topic_ids")


class _Cursor:
    """Understands what is written by hand: the checkpoints' UPDATE, and whether anybody is there."""

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        from portfolios.models import Checkpoint

        if sql == "SELECT 1":
            database().statement()
            return
        matched = re.fullmatch(r"UPDATE portfolios_checkpoint SET (.*) WHERE (.*)", sql)
        assert matched, sql
        values = iter(parameters)
        setters: list[tuple[str, dict[Any, Any] | None, Any]] = []
        for column, expression in _SET.findall(matched[1]):
            if expression == "%s":
                setters.append((column, None, _column(column, next(values))))
            else:
                cases = {next(values): _column(column, next(values)) for _ in range(expression.count("WHEN"))}
                setters.append((column, cases, None))
        conditions = []
        for clause in matched[2].split(" OR "):
            names = re.findall(r"(\w+) = %s", clause)
            assert clause == "(" + " AND ".join(f"{name} = %s" for name in names) + ")", clause
            conditions.append([(name, "", next(values)) for name in names])
        assert next(values, None) is None

        def made(row: Row) -> Row:
            pk = row["portfolio_id"]
            return {**row, **{c: value if cases is None else cases[pk] for c, cases, value in setters}}

        db = database()
        table = db.table(Checkpoint)

        def work(tx: Transaction) -> int:
            # Of one primary key only one condition can hold.
            return sum(db.change(tx, Query(table).altered(tests=tests), made) for tests in conditions)

        self.rowcount = db.write(work)


def _column(name: str, value: Any) -> Any:
    if name not in _JSON:
        return value
    return json.loads(value)


class Connection:
    vendor = "mysql"
    ops = _Operations()

    @staticmethod
    def cursor() -> _Cursor:
        return _Cursor()

    @staticmethod
    def close() -> None:
        """The next statement opens another."""


def close_old_connections() -> None:
    pass
