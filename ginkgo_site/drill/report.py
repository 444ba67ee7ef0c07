"""The drills' outcomes as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ginkgo_site.drill.outcome import Outcome


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """The table, then what each did and what else was seen."""
    table = Table(title="ginkgo drill", title_justify="left", header_style="bold", expand=False)
    table.add_column("drill", overflow="fold")
    for column in ("orders", "lost", "twice", "stale", "pause s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("passed", no_wrap=True)
    for each in outcomes:
        verdict = {None: "skipped", True: "[green]yes[/]", False: "[red]no[/]"}[each.passed]
        table.add_row(
            each.name,
            f"{each.orders:,}",
            f"{each.messages_lost + each.orders_lost}",
            f"{each.messages_twice + each.orders_twice + each.orders_ghost}",
            f"{each.stale_orders}",
            f"{each.pause_s:.1f}",
            verdict,
        )
    console.print(table)
    console.print("lost and twice: messages and orders together; --json has each of them", style="dim")
    chaos = [each.injected for each in outcomes if each.injected]
    if chaos:
        console.print(f"{sum(chaos):,} failures injected at random, by {len(chaos)} seeds")
    for each in outcomes:
        lines = [*each.faults, *each.notes, *([each.skipped] if each.skipped else [])]
        console.print(f"[bold]{each.name}[/]: " + "; ".join(lines))
