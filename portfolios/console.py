"""What the commands share: one JSON document on stdout, tables that fit 80 columns, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError
from rich.console import Console
from rich.table import Table
from typer import Exit

from portfolios.calendars import CalendarError
from portfolios.errors import InvalidConfig, PortfolioError


def print_json(document: Any) -> None:
    """Money as numbers, times as RFC 3339."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    right: Sequence[str] = (),
    fixed: Sequence[str] = (),
) -> None:
    """A table no wider than the terminal (80 columns where there is none); `right`: the columns of numbers; `fixed`:
    those that are never broken, at the cost of the others."""
    table = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        if column in right:
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold", no_wrap=column in fixed)
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console().print(table)


def console() -> Console:
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=80)


def shown(value: Any) -> str:
    """A cell's text: money with its thousands separated, moments to the second."""
    if value is None or value == "":
        return "-"
    if isinstance(value, Decimal):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Every expected error in one line on stderr; a faulty config one line a fault, and exit code 2."""
    try:
        yield
    except InvalidConfig as error:
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        raise Exit(2) from None
    except (PortfolioError, CalendarError) as error:
        raise CommandError(str(error)) from None
    except DatabaseError as error:
        raise CommandError(database_trouble(error)) from None


def database_trouble(error: DatabaseError) -> str:
    """What is wrong with the database, in one line: tables or columns that are not there, or no answer at all."""
    reason = " ".join(str(part) for part in error.args).splitlines()[0] if error.args else type(error).__name__
    # SQLite's words, and MySQL's codes for an unknown table, database and column.
    if reason.startswith(("no such table", "no such column")) or (error.args and error.args[0] in (1146, 1049, 1054)):
        return f"the database is new or older than this version ({reason}): run 'ginkgo data init'"
    return f"the database does not answer ({reason})"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def moment_of(option: str, text: str | None) -> datetime | None:
    """What `option` was given, with its zone; None if it was not given. Raises CommandError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{option} must be a moment such as 2026-11-21T09:30:00+00:00, got {text!r}") from None
    if moment.tzinfo is None:
        raise CommandError(f"{option} needs a zone: write it as {moment.isoformat()}+00:00")
    return moment
