"""An in-memory database: what the product asks of MySQL, with READ COMMITTED and row locks (questions: `query`).

Statements are read committed, not serialised: between two of a transaction anybody else may commit, a changed row is
locked to its transaction's end, an insert waits for another of the same unique key, and a lock that is not had in time
is error 1205. `serial` lets nobody else run during a transaction instead, as SQLite's IMMEDIATE ones do; the tests
compare that, schedule by schedule, with the real SQL on SQLite. Only what the product uses is there: anything else is
`Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, models

from tests.protocol.hub import Died, Process, Task, hub

if TYPE_CHECKING:
    from tests.protocol.query import Query

Row = dict[str, Any]
Pending = dict["Table", dict[Any, Row | None]]

_LOCK_WAIT = 10.0


class Table:
    def __init__(self, model: type[models.Model]) -> None:
        self.model = model
        fields = model._meta.concrete_fields
        self.fields = tuple(field.attname for field in fields)
        pk = model._meta.pk
        assert pk is not None
        self.pk = pk.attname
        self.automatic = isinstance(pk, models.AutoField | models.BigAutoField)
        self.rows: dict[Any, Row] = {}
        self.last_id = 0
        self.unique = [
            tuple(model._meta.get_field(name).attname for name in constraint.fields)  # type: ignore[union-attr]
            for constraint in model._meta.constraints
            if isinstance(constraint, models.UniqueConstraint)
        ]
        self.unique += [(f.attname,) for f in fields if f.unique and not (f.primary_key and self.automatic)]
        self.aliases = {"pk": self.pk} | {f.name: f.attname for f in fields} | {f.attname: f.attname for f in fields}

    def instance(self, row: Row) -> Any:
        return self.model.from_db("default", self.fields, [row[name] for name in self.fields])

    def row_of(self, instance: models.Model) -> Row:
        values = instance.__dict__
        return {name: plain(values.get(name)) for name in self.fields}


class Transaction:
    __slots__ = ("changes", "doomed", "locked", "locks", "over", "process", "rollback")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.changes: Pending = {}
        self.locks: list[Any] = []
        self.rollback = False
        self.doomed = False
        self.over = False
        self.locked = hub().steps
        """When it got its first lock: what it reads after that is read under it."""


class Database:
    """`committed` is told of each commit: the transaction, and what it changes (before it does)."""

    def __init__(self, serial: bool = False) -> None:
        self.serial = serial
        self.tables: dict[type[models.Model], Table] = {}
        self.committed: Callable[[Transaction, Pending], None] = lambda *_: None
        self.failing: dict[Process, int] = {}
        """Processes for which so many statements or commits fail: of the commits, half have happened."""
        self._locks: dict[Any, Transaction] = {}
        self._waiting: list[Task] = []

    def table(self, model: type[models.Model]) -> Table:
        table = self.tables.get(model)
        if table is None:
            table = self.tables[model] = Table(model)
        return table

    def set(self, model: type[models.Model], pk: Any, **values: Any) -> None:
        """Somebody outside of the simulation wants it so."""
        rows = self.table(model).rows
        rows[pk] = {**rows[pk], **values}

    # -- statements and transactions -----------------------------------------------------------------------------------

    def statement(self) -> Transaction | None:
        """One begins; the transaction that it belongs to, if any."""
        task = hub().current
        if task is None:
            return None
        transaction: Transaction | None = task.transaction
        if transaction is None or not self.serial:
            hub().pause()
            self._fail(task.process)
        return transaction

    def _fail(self, process: Process) -> None:
        left = self.failing.get(process, 0)
        if left:
            self.failing[process] = left - 1
            raise OperationalError(2013, "Lost connection to MySQL server during query")

    def begin(self) -> Transaction:
        """The outermost transaction of this thread."""
        task = hub().current
        process = hub().world if task is None else task.process
        transaction = Transaction(process)
        if task is not None:
            hub().pause()
            self._fail(process)
            task.transaction = transaction
            if self.serial:
                hub().atomic += 1
        return transaction

    def end(self, transaction: Transaction, commit: bool) -> None:
        task = hub().current
        if transaction.over:
            return
        if task is not None and not task.process.alive:
            self._close(transaction)
            raise Died
        if task is not None:
            task.transaction = None
            if self.serial:
                hub().atomic -= 1
        assert not (commit and transaction.doomed), "savepoints are not modelled"
        if not commit or transaction.rollback:
            self._close(transaction)
            return
        lost = False
        try:
            if task is not None and not self.serial:
                hub().pause()
            if task is not None and self.failing.get(task.process):
                lost = hub().chance() < 0.5
                if not lost:
                    self._fail(task.process)
        except BaseException:
            self._close(transaction)
            raise
        self._commit(transaction)
        if task is not None:
            hub().pause()
            if lost:
                self._fail(task.process)

    def _commit(self, transaction: Transaction) -> None:
        if transaction.changes:
            self.committed(transaction, transaction.changes)
            for table, changes in transaction.changes.items():
                rows = table.rows
                for pk, row in changes.items():
                    if row is None:
                        rows.pop(pk, None)
                    else:
                        rows[pk] = row
        self._close(transaction)

    def _close(self, transaction: Transaction) -> None:
        transaction.over = True
        for key in transaction.locks:
            del self._locks[key]
        transaction.locks = []
        if self._waiting:
            hub().wake(self._waiting)

    def abort(self, process: Process) -> None:
        """Its connections are gone: the server rolls back what was open."""
        for task in process.tasks:
            transaction = task.transaction
            if transaction is not None and not transaction.over:
                transaction.over = True
                for key in transaction.locks:
                    del self._locks[key]
                transaction.locks = []
        if self._waiting:
            hub().wake(self._waiting)

    def lock(self, transaction: Transaction, key: Any) -> None:
        held = self._locks.get(key)
        while held is not None and held is not transaction:
            if not hub().wait(self._waiting, _LOCK_WAIT):
                raise OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction")
            held = self._locks.get(key)
        if held is None:
            self._locks[key] = transaction
            transaction.locks.append(key)
            if len(transaction.locks) == 1:
                transaction.locked = hub().steps

    # -- reading and writing -------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], int]) -> int:
        """Run one writing statement, in the open transaction or in one of its own."""
        transaction = self.statement()
        if transaction is not None:
            return work(transaction)
        task = hub().current
        own = Transaction(hub().world if task is None else task.process)
        if task is not None:
            task.transaction = own
        try:
            done = work(own)
        except BaseException:
            self._close(own)
            raise
        finally:
            if task is not None:
                task.transaction = None
        lost = task is not None and self.failing.get(task.process, 0) and hub().chance() < 0.5
        self._commit(own)
        if task is not None:
            hub().pause()
            if lost:
                self._fail(task.process)
        return done

    def insert(self, transaction: Transaction, table: Table, row: Row, ignore: bool = False) -> bool:
        for names in table.unique:
            key = tuple([row[name] for name in names])
            if None in key:
                continue  # nothing is the same as NULL
            if not self.serial:
                self.lock(transaction, (table.model, names, key))
            if any(all(r[n] == v for n, v in zip(names, key, strict=True)) for r in visible(table, transaction)):
                if ignore:
                    return False
                raise IntegrityError(1062, f"Duplicate entry {key} in {table.model.__name__}")
        if table.automatic:
            table.last_id += 1
            row[table.pk] = table.last_id
        if not self.serial:
            self.lock(transaction, (table.model, row[table.pk]))
        transaction.changes.setdefault(table, {})[row[table.pk]] = row
        return True

    def change(self, transaction: Transaction, query: Query, made: Callable[[Row], Row | None]) -> int:
        """Lock, look again, change (or delete, on None) the rows that match; how many."""
        table, done = query.table, 0
        for pk in [row[table.pk] for row in query.rows(transaction)]:
            if not self.serial:
                self.lock(transaction, (table.model, pk))
            row = one(table, pk, transaction)
            if row is None or not query.matches(row):
                continue
            transaction.changes.setdefault(table, {})[pk] = made(row)
            done += 1
        return done


def visible(table: Table, transaction: Transaction | None) -> list[Row]:
    changes = transaction.changes.get(table) if transaction is not None else None
    if not changes:
        return list(table.rows.values())
    return [row for row in {**table.rows, **changes}.values() if row is not None]


def one(table: Table, pk: Any, transaction: Transaction | None) -> Row | None:
    if transaction is not None:
        changes = transaction.changes.get(table)
        if changes is not None and pk in changes:
            return changes[pk]
    return table.rows.get(pk)


_database: Database | None = None


def database() -> Database:
    assert _database is not None
    return _database


def use(new: Database | None) -> None:
    global _database  # noqa: PLW0603
    _database = new


def current() -> Transaction | None:
    """The transaction that this thread has open, if any."""
    task = hub().current
    return None if task is None else task.transaction


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


class Unknown(BaseException):
    """The product asks for something that this database does not know: it is to be taught. Nothing catches it."""
