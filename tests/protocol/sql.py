"""The same database by Django's own SQL on SQLite: slower, and nothing in it is ours.

It stops at the same places as the in-memory one with `serial`, so that a seed is the same history on both, unless the
in-memory one does not do what the SQL does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection, models, transaction
from django.db.models.query import QuerySet

from market.models import CancelRequest, Order
from portfolios.models import Assignment, Checkpoint
from tests.protocol import database
from tests.protocol.database import Database, Pending, Table, Transaction
from tests.protocol.hub import Process, hub

_WATCHED = (Assignment, CancelRequest, Checkpoint, Order)
"""What the oracle looks at with each commit."""


class SqlDatabase(Database):
    """Its tables are read again when they were written."""

    def __init__(self) -> None:
        super().__init__(serial=True)
        self.inside = 0
        self._version = 0
        self._quiet = False
        """While the oracle looks at a commit: what it changes is as it was before."""
        self._read_at: dict[Table, int] = {}
        with connection.cursor() as cursor:
            for model in _models:
                cursor.execute(f"DELETE FROM {model._meta.db_table}")
            cursor.execute("DELETE FROM sqlite_sequence")

    def table(self, model: type[models.Model]) -> Table:
        table = super().table(model)
        if self._read_at.get(table) != self._version and not (self._quiet and model in _WATCHED):
            self._read_at[table] = self._version
            table.rows = self._rows(table)
        return table

    def _rows(self, table: Table) -> dict[Any, database.Row]:
        before, rows = table.rows, {}
        self.inside += 1
        for row in QuerySet(table.model).order_by(table.pk).values(*table.fields):
            pk, old = row[table.pk], before.get(row[table.pk])
            # What has not changed stays the same object: the oracle looks at that.
            rows[pk] = row if old is None else {k: old[k] if old[k] == v else v for k, v in row.items()}
        self.inside -= 1
        return rows

    def set(self, model: type[models.Model], pk: Any, **values: Any) -> None:
        self.inside += 1
        QuerySet(model).filter(pk=pk).update(**values)
        self.inside -= 1
        self._version += 1

    def abort(self, process: Process) -> None:
        """It dies between two transactions, never within one."""

    def read(self, work: Callable[[], Any]) -> Any:
        if not self.inside:
            self.statement()
        return self._do(work)

    def sql_write(self, work: Callable[[], Any]) -> Any:
        if self.inside:
            return work()
        if self.statement() is not None:
            return self._do(work)
        done = self._do(work)
        task = hub().current
        own = Transaction(hub().world if task is None else task.process)
        lost = task is not None and self.failing.get(task.process, 0) and hub().chance() < 0.5
        self.tell(own)
        if task is not None:
            hub().pause()
            if lost:
                self._fail(task.process)
        return done

    def _do(self, work: Callable[[], Any]) -> Any:
        self.inside += 1
        try:
            return work()
        finally:
            self.inside -= 1

    def tell(self, done: Transaction) -> None:
        """A transaction is committed: what has it changed?"""
        changes: Pending = {}
        now: dict[Table, dict[Any, database.Row]] = {}
        for model in _WATCHED:
            table = Database.table(self, model)
            now[table] = self._rows(table)
            changed: dict[Any, database.Row | None] = {
                pk: row for pk, row in now[table].items() if table.rows.get(pk) != row
            }
            if changed:
                changes[table] = changed
        if changes:
            self._quiet = True
            self.committed(done, changes)
            self._quiet = False
        self._version += 1
        for table, rows in now.items():
            table.rows, self._read_at[table] = rows, self._version


class SqlAtomic:
    """`transaction.atomic()`, with the stops of the in-memory database."""

    def __enter__(self) -> None:
        self._outer = database.current() is None
        if self._outer:
            self._transaction = _database().begin()
        self._real = transaction.atomic()
        self._real.__enter__()

    def __exit__(self, kind: Any, error: Any, at: Any) -> None:
        if not self._outer:
            self._real.__exit__(kind, error, at)
            return
        db, task = _database(), hub().current
        if task is not None:
            task.transaction = None
            hub().atomic -= 1
        lost = False
        if kind is None and not self._transaction.rollback and task is not None and db.failing.get(task.process):
            lost = hub().chance() < 0.5
            if not lost:
                try:
                    db._fail(task.process)
                except OperationalError as failure:
                    self._real.__exit__(type(failure), failure, None)
                    raise
        self._real.__exit__(kind, error, at)
        if kind is not None or self._transaction.rollback:
            return
        db.tell(self._transaction)
        if task is not None:
            hub().pause()
            if lost:
                db._fail(task.process)


class SqlTransactionModule:
    atomic = SqlAtomic

    @staticmethod
    def set_rollback(rollback: bool) -> None:
        transaction.set_rollback(rollback)
        opened = database.current()
        assert opened is not None
        opened.rollback = rollback


class _SqlCursor:
    def __enter__(self) -> _SqlCursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        def work() -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql, list(parameters))
                self.rowcount = cursor.rowcount

        if sql.startswith("SELECT"):
            _database().read(work)
        else:
            _database().sql_write(work)


class SqlConnection:
    vendor = "mysql"
    """Its transactions need no queue of their own here: nobody else runs during one."""
    ops = connection.ops

    @staticmethod
    def cursor() -> _SqlCursor:
        return _SqlCursor()

    @staticmethod
    def close() -> None:
        """The database is in memory: closed, it would be gone."""


class _Queries(QuerySet[Any]):
    def _fetch_all(self) -> None:
        if self._result_cache is None:
            # Where the product does not say, any order will do: here as there that of the primary key.
            ordering = self.query.order_by or (self.model._meta.ordering if self.query.default_ordering else ())
            self.query.order_by = (*ordering, "pk")
            _database().read(super()._fetch_all)

    def iterator(self, chunk_size: int | None = None) -> Any:
        return iter(self)

    def exists(self) -> bool:
        return bool(_database().read(super().exists))

    def count(self) -> int:
        return int(_database().read(super().count))

    def update(self, **values: Any) -> int:
        return int(_database().sql_write(lambda: super(_Queries, self).update(**values)))

    def delete(self) -> Any:
        return _database().sql_write(super().delete)

    def bulk_create(self, instances: Any, ignore_conflicts: bool = False, **_: Any) -> Any:  # type: ignore[override]
        made = list(instances)
        if not made:
            return made
        create = super().bulk_create
        return _database().sql_write(lambda: create(made, ignore_conflicts=ignore_conflicts))

    def create(self, **values: Any) -> Any:
        create = super().create
        return _database().sql_write(lambda: create(**values))

    def get_or_create(self, defaults: Any = None, **lookups: Any) -> Any:
        found = self.filter(**lookups).first()
        return (found, False) if found is not None else (self.create(**lookups, **defaults), True)


def _database() -> SqlDatabase:
    found = database.database()
    assert isinstance(found, SqlDatabase)
    return found


_models: tuple[type[models.Model], ...] = ()


def install(used: tuple[type[models.Model], ...]) -> None:
    """Make the tables, and let the models ask here."""
    global _models  # noqa: PLW0603
    _models = used
    connection.close()
    connection.settings_dict["NAME"] = ":memory:"
    with connection.schema_editor() as editor:
        others: tuple[type[models.Model], ...] = (ContentType, Permission, Group, User)
        for model in (*others, *used):
            editor.create_model(model)
    connection.disable_constraint_checking()  # there are no users
    for model in used:
        manager = models.Manager.from_queryset(_Queries)()
        manager.model, manager.name = model, "objects"
        type.__setattr__(model, "objects", manager)
        really = model.save

        def save(instance: Any, *args: Any, _really: Any = really, **kwargs: Any) -> None:
            _database().sql_write(lambda: _really(instance, *args, **kwargs))

        type.__setattr__(model, "save", save)
