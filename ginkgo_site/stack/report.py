"""The stack on a terminal: a table that fits 80 columns, or one JSON document."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from ginkgo_site.stack.health import Health


def print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_health(health: Health) -> None:
    console = Console(highlight=False)
    if not health.running:
        left = " (stack.json is left from a supervisor that died)" if health.stale else ""
        console.print(
            f"no stack runs in {health.home}{left}: start it with `ginkgo up` or `ginkgo stack start`", soft_wrap=True
        )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("server", "address", "", "pid", "answers"):
        table.add_column(column, overflow="fold")
    home = str(health.home)
    for answer in health.answers:
        fine = answer.fault is None
        address = answer.address.replace(home, "…") if home in answer.address else answer.address
        where = "given" if answer.given else "embedded"
        pid = "" if answer.pid is None else str(answer.pid)
        table.add_row(answer.key, address, where, pid, "[green]yes[/]" if fine else f"[red]no[/] {answer.fault}")
    console.print(table)
    if health.running:
        console.print(f"[dim]home[/] {home}  [dim]supervisor[/] {health.written['supervisor']}", soft_wrap=True)
