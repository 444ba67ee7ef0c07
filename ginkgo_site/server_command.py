"""What `ginkgo mysql|redis|mongo|clickhouse` have in common: a `status` that asks the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from rich.table import Table

from ginkgo_site.health import ServerAway
from portfolios.console import console, print_json


def show_status(name: str, ask: Callable[[], dict[str, Any]], as_json: bool) -> None:
    """The facts as a table or a document; one line and exit code 1 when the server is away."""
    try:
        facts = ask()
    except ServerAway as error:
        raise CommandError(str(error)) from None
    if as_json:
        return print_json(facts)
    table = Table(title=name, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(_LABELS.get(key, key.replace("_", " ")), _shown(key, value))
    return console().print(table)


_LABELS = {"size_mb": "size, MB", "memory_mb": "memory, MB"}


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if key == "uptime" and isinstance(value, int):
        hours, minutes = divmod(value // 60, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {value % 60} s"
    return str(value)
