"""An in-memory database behind Django's model API: what the product asks of MySQL, with READ COMMITTED and row locks.

Statements are read committed, not serialised: between two of a transaction anybody else may commit, a changed row is
locked to its transaction's end, an insert waits for another of the same unique key, and a lock that is not had in time
is error 1205. `serial` lets nobody else run during a transaction instead, as SQLite's IMMEDIATE ones do; the tests
compare that, schedule by schedule, with the real SQL on SQLite. Only what the product uses is there: anything else is
`Unknown`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from django.db import IntegrityError, OperationalError, models
from django.db.models import OuterRef
from django.db.models.expressions import CombinedExpression, F

from tests.protocol.hub import Died, Process, Task, hub

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
        return {name: _plain(values.get(name)) for name in self.fields}


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


class Unknown(BaseException):
    """The product asks for something that this database does not know: it is to be taught. Nothing catches it."""


class Subquery:
    """In the place of `django.db.models.Subquery`: of one value."""

    def __init__(self, query: Query) -> None:
        self.query = query

    def of(self, outer: Table, row: Row) -> Any:
        found = self._rows(outer, row)
        return found[0][self.query._names[0]] if found else None  # type: ignore[index]

    def _rows(self, outer: Table, row: Row) -> list[Row]:
        tests = [
            (name, op, row[outer.aliases[_name(value)]] if isinstance(value, OuterRef) else value)
            for name, op, value in self.query.tests
        ]
        query = self.query._with(tests=tests)
        return query.sorted(query.rows(_open()))


class Exists(Subquery):
    """In the place of `django.db.models.Exists`."""

    def of(self, outer: Table, row: Row) -> bool:
        return bool(self._rows(outer, row))


class Query:
    """What a QuerySet is, for one table."""

    __slots__ = ("_flat", "_lock", "_names", "_order", "_related", "_slice", "exists_tests", "table", "tests", "unlike")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.tests: list[tuple[str, str, Any]] = []
        self.unlike: list[list[tuple[str, str, Any]]] = []
        self.exists_tests: list[Exists] = []
        self._names: tuple[str, ...] | None = None
        self._flat = False
        self._order: tuple[str, ...] = table.model._meta.ordering or ()  # type: ignore[assignment]
        self._lock = False
        self._related: tuple[str, ...] = ()
        self._slice: int | None = None

    def _with(self, **changes: Any) -> Query:
        made = Query.__new__(Query)
        made.table, made.tests, made.unlike, made.exists_tests = self.table, self.tests, self.unlike, self.exists_tests
        made._names, made._flat, made._order, made._lock = self._names, self._flat, self._order, self._lock
        made._related, made._slice = self._related, self._slice
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    # -- building ------------------------------------------------------------------------------------------------------

    def all(self) -> Query:
        return self

    def filter(self, *exists: Exists, **lookups: Any) -> Query:
        return self._with(tests=self.tests + _tests(self.table, lookups), exists_tests=[*self.exists_tests, *exists])

    def exclude(self, **lookups: Any) -> Query:
        return self._with(unlike=[*self.unlike, _tests(self.table, lookups)])

    def order_by(self, *names: str) -> Query:
        return self._with(_order=names)

    def distinct(self) -> Query:
        """Nobody here minds what comes twice."""
        return self

    def select_for_update(self) -> Query:
        return self._with(_lock=True)

    def select_related(self, *names: str) -> Query:
        return self._with(_related=names)

    def values_list(self, *names: str | Subquery, flat: bool = False) -> Query:
        return self._with(_names=names, _flat=flat)

    values = values_list

    def __getitem__(self, part: slice) -> Query:
        assert not part.start and part.step is None
        return self._with(_slice=part.stop)

    # -- reading -------------------------------------------------------------------------------------------------------

    def matches(self, row: Row) -> bool:
        for name, op, value in self.tests:
            if not _holds(row[name] if name in row else _value(self.table, row, name), op, value):
                return False
        if any(all(_holds(row[n], op, v) for n, op, v in tests) for tests in self.unlike):
            return False
        return all(each.of(self.table, row) for each in self.exists_tests)

    def rows(self, transaction: Transaction | None) -> list[Row]:
        table = self.table
        for name, op, value in self.tests:
            if name == table.pk and op == "":
                row = one(table, value, transaction)
                return [row] if row is not None and self.matches(row) else []
        return [row for row in visible(table, transaction) if self.matches(row)]

    def _read(self) -> list[Row]:
        db = database()
        transaction = db.statement()
        found = self.rows(transaction)
        if self._lock and not db.serial and transaction is not None:
            pks = sorted(row[self.table.pk] for row in found)
            for pk in pks:
                db.lock(transaction, (self.table.model, pk))
            fresh = [one(self.table, pk, transaction) for pk in pks]
            found = [row for row in fresh if row is not None and self.matches(row)]
        return self.sorted(found)

    def sorted(self, found: list[Row]) -> list[Row]:
        if len(found) > 1:
            pk = self.table.pk
            found.sort(key=lambda row: row[pk])
        for name in reversed(self._order):
            key = self.table.aliases[name.removeprefix("-")]
            found.sort(key=lambda row: row[key], reverse=name.startswith("-"))
        return found if self._slice is None else found[: self._slice]

    def __iter__(self) -> Iterator[Any]:
        rows = self._read()
        names = self._names
        if names is None:
            return iter([self._instance(row) for row in rows])
        if self._flat:
            return iter([_value(self.table, row, names[0]) for row in rows])
        return iter([tuple([_value(self.table, row, name) for name in names]) for row in rows])

    iterator = __iter__

    def _instance(self, row: Row) -> Any:
        made = self.table.instance(row)
        if self._related:
            assert self._related == ("portfolio__assignment",)
            table, found = _related(row, "portfolio", self.table)
            assert found is not None
            made._state.fields_cache["portfolio"] = parent = table.instance(found)
            table, found = _related(found, "assignment", table)
            assert found is not None
            parent._state.fields_cache["assignment"] = table.instance(found)
        return made

    def first(self) -> Any:
        found = list(self._with(_slice=1, _order=self._order or (self.table.pk,)))
        return found[0] if found else None

    def exists(self) -> bool:
        return bool(self._read())

    def count(self) -> int:
        return len(self._read())

    def __getattr__(self, name: str) -> Any:
        if name == "keys" or name.startswith("__"):  # what `dict` and others probe for
            raise AttributeError(name)
        raise Unknown(f"{self.table.model.__name__}.objects…{name}")

    def in_bulk(self, ids: list[Any]) -> dict[Any, Any]:
        found = self.filter(**{f"{self.table.pk}__in": ids})
        return {getattr(each, self.table.pk): each for each in found}

    # -- writing -------------------------------------------------------------------------------------------------------

    def update(self, **values: Any) -> int:
        table = self.table
        changed = {table.aliases[name]: value for name, value in values.items()}
        db = database()
        return db.write(
            lambda tx: db.change(
                tx, self, lambda row: {**row, **{name: _computed(value, row) for name, value in changed.items()}}
            )
        )

    def delete(self) -> tuple[int, dict[str, int]]:
        db = database()
        return db.write(lambda tx: db.change(tx, self, lambda _: None)), {}

    def bulk_create(self, instances: Iterable[Any], ignore_conflicts: bool = False) -> None:
        db, rows = database(), [self.table.row_of(each) for each in instances]
        if rows:
            db.write(lambda tx: sum([db.insert(tx, self.table, row, ignore_conflicts) for row in rows]))

    def create(self, **values: Any) -> Any:
        made = self.table.model(**values)
        self.bulk_create([made])
        return made

    def get_or_create(self, defaults: dict[str, Any], **lookups: Any) -> tuple[Any, bool]:
        found = self.filter(**lookups).first()
        if found is not None:
            return found, False
        try:
            return self.create(**lookups, **defaults), True
        except IntegrityError:
            return self.filter(**lookups).first(), False


def save(instance: Any, update_fields: Iterable[str]) -> None:
    """In the place of `Model.save`, for an instance that was read."""
    table = database().table(type(instance))
    values = {name: _plain(getattr(instance, table.aliases[name])) for name in update_fields}
    Query(table).filter(pk=instance.__dict__[table.pk]).update(**values)


class Manager:
    """In the place of `Model.objects`."""

    def __get__(self, _: Any, model: type[models.Model]) -> Query:
        return Query(database().table(model))


_OPERATIONS = ("in", "gt", "gte", "lt", "lte", "isnull")


def _tests(table: Table, lookups: dict[str, Any]) -> list[tuple[str, str, Any]]:
    tests = []
    for lookup, value in lookups.items():
        path, _, op = lookup.rpartition("__")
        if op not in _OPERATIONS:
            path, op = lookup, ""
        if op == "in":
            value = frozenset([_plain(each) for each in value])  # noqa: PLW2901
        name = table.aliases.get(path)
        if name is None and "__" not in path:
            raise Unknown(f"{table.model.__name__}: {lookup}")
        tests.append((name or path, op, _plain(value)))
    return tests


def _holds(found: Any, op: str, value: Any) -> bool:
    if op == "":
        return bool(found == value)
    if op == "in":
        return found in value
    if op == "isnull":
        return (found is None) is value
    if found is None:
        return False
    if op == "gt":
        return bool(found > value)
    if op == "gte":
        return bool(found >= value)
    return bool(found < value) if op == "lt" else bool(found <= value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _name(reference: Any) -> str:
    """What an F or an OuterRef refers to."""
    return str(reference.name)


def _computed(value: Any, row: Row) -> Any:
    if isinstance(value, CombinedExpression):
        added: Any = value.rhs
        assert isinstance(value.lhs, F) and value.connector == "+"
        return row[_name(value.lhs)] + added.value
    return _plain(value)


def _open() -> Transaction | None:
    task = hub().current
    return None if task is None else task.transaction


def _related(row: Row, name: str, table: Table) -> tuple[Table, Row | None]:
    """The row that a foreign key, or the other end of a one-to-one, leads to."""
    relation: Any = table.model._meta.get_field(name)
    model = relation.related_model
    assert isinstance(model, type) and issubclass(model, models.Model)
    other = database().table(model)
    if relation.concrete:
        return other, one(other, row[relation.attname], _open())
    key, attname = row[table.pk], relation.field.attname
    if attname == other.pk:
        return other, one(other, key, _open())
    return other, next((each for each in visible(other, _open()) if each[attname] == key), None)


def _value(table: Table, row: Row, path: str | Subquery) -> Any:
    if isinstance(path, Subquery):
        return path.of(table, row)
    if not isinstance(path, str):
        raise Unknown(f"{path!r} of {table.model.__name__}")
    name, _, rest = path.partition("__")
    if rest:
        other, found = _related(row, name, table)
        return None if found is None else _value(other, found, rest)
    return row[table.aliases[name]]


# -- in the place of django.db.transaction and django.db.connection ----------------------------------------------------


class _Atomic:
    __slots__ = ("_outer", "_transaction")

    def __enter__(self) -> None:
        open_now = _open()
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
        transaction = _open()
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
            return sum(db.change(tx, Query(table)._with(tests=tests), made) for tests in conditions)

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
