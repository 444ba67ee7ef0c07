"""Django's QuerySet over the in-memory database: only what the product uses; anything else is `Unknown`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import IntegrityError, models
from django.db.models import OuterRef
from django.db.models.expressions import CombinedExpression, F

from tests.protocol.database import Row, Table, Transaction, Unknown, current, database, one, plain, visible


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
        query = self.query.altered(tests=tests)
        return query.sorted(query.rows(current()))


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

    def altered(self, **changes: Any) -> Query:
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
        return self.altered(tests=self.tests + _tests(self.table, lookups), exists_tests=[*self.exists_tests, *exists])

    def exclude(self, **lookups: Any) -> Query:
        return self.altered(unlike=[*self.unlike, _tests(self.table, lookups)])

    def order_by(self, *names: str) -> Query:
        return self.altered(_order=names)

    def distinct(self) -> Query:
        """Nobody here minds what comes twice."""
        return self

    def select_for_update(self) -> Query:
        return self.altered(_lock=True)

    def select_related(self, *names: str) -> Query:
        return self.altered(_related=names)

    def values_list(self, *names: str | Subquery, flat: bool = False) -> Query:
        return self.altered(_names=names, _flat=flat)

    values = values_list

    def __getitem__(self, part: slice) -> Query:
        assert not part.start and part.step is None
        return self.altered(_slice=part.stop)

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
        found = list(self.altered(_slice=1, _order=self._order or (self.table.pk,)))
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
    values = {name: plain(getattr(instance, table.aliases[name])) for name in update_fields}
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
            value = frozenset([plain(each) for each in value])  # noqa: PLW2901
        name = table.aliases.get(path)
        if name is None and "__" not in path:
            raise Unknown(f"{table.model.__name__}: {lookup}")
        tests.append((name or path, op, plain(value)))
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


def _name(reference: Any) -> str:
    """What an F or an OuterRef refers to."""
    return str(reference.name)


def _computed(value: Any, row: Row) -> Any:
    if isinstance(value, CombinedExpression):
        added: Any = value.rhs
        assert isinstance(value.lhs, F) and value.connector == "+"
        return row[_name(value.lhs)] + added.value
    return plain(value)


def _related(row: Row, name: str, table: Table) -> tuple[Table, Row | None]:
    """The row that a foreign key, or the other end of a one-to-one, leads to."""
    relation: Any = table.model._meta.get_field(name)
    model = relation.related_model
    assert isinstance(model, type) and issubclass(model, models.Model)
    other = database().table(model)
    if relation.concrete:
        return other, one(other, row[relation.attname], current())
    key, attname = row[table.pk], relation.field.attname
    if attname == other.pk:
        return other, one(other, key, current())
    return other, next((each for each in visible(other, current()) if each[attname] == key), None)


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
