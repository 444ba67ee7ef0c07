"""Counts rows where a query of its own would cost a round trip: as a column of another query, or many counts in one."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet, Subquery


class RowCount(Subquery):
    """How many rows a query has, as a column of another: the database computes it once.

    The query cannot refer to the outer one: MariaDB's derived tables see nothing of it.
    """

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"


def counts(**queries: QuerySet[Any]) -> dict[str, int]:
    """How many rows each query has, as of one moment. Raises django.db.Error."""
    columns: list[str] = []
    parameters: list[Any] = []
    for number, query in enumerate(queries.values()):
        sql, values = query.order_by().values("pk").query.sql_with_params()
        columns.append(f"(SELECT COUNT(*) FROM ({sql}) counted_{number})")
        parameters.extend(values)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}", parameters)
        return dict(zip(queries, map(int, cursor.fetchone()), strict=True))
