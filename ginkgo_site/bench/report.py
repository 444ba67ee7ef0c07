"""A benchmark's outcomes as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ginkgo_site.bench.outcome import Outcome


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """The table, then for each what else was counted."""
    table = Table(title="ginkgo bench", title_justify="left", header_style="bold", expand=False)
    table.add_column("what", overflow="fold")
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("must", justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("peers, same run", overflow="fold")
    for outcome in outcomes:
        sign = "≥" if outcome.bound == "at least" else "≤"
        table.add_row(
            f"{outcome.name}\n{outcome.unit}",
            figure(outcome.ours),
            f"{sign} {figure(outcome.must)}",
            "[green]yes[/]" if outcome.met else "[red]no[/]",
            "\n".join(
                f"{name} {'absent' if value is None else figure(value)}" for name, value in outcome.peers.items()
            ),
        )
    console.print(table)
    for outcome in outcomes:
        _explain(outcome, console)


def _explain(outcome: Outcome, console: Console) -> None:
    """What else was counted: conditions and figures as a list, then the notes."""
    console.print(f"[bold]{outcome.name}[/]")
    listed = Table.grid(padding=(0, 2))
    listed.add_column(overflow="fold")
    listed.add_column(justify="right", no_wrap=True)
    for name, met in outcome.also.items():
        listed.add_row(f"  {name}", "[green]yes[/]" if met else "[red]no[/]")
    for name, value in outcome.details.items():
        listed.add_row(f"  {name}", figure(value))
    listed.add_row("  load of the machine (1 min)", f"{outcome.load:.1f}")
    console.print(listed)
    for note in outcome.notes:
        console.print(Padding(note, (0, 0, 0, 2)))


def figure(value: float) -> str:
    """Thousands separated; small ones with as many decimals as they need."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"
