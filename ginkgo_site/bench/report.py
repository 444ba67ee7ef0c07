"""A benchmark's outcomes as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
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
        lines = [f"{name}: {'yes' if met else 'no'}" for name, met in outcome.also.items()]
        lines += [f"{name}: {figure(value)}" for name, value in outcome.details.items()]
        lines += [*outcome.notes, f"load of the machine (1 min): {outcome.load:.1f}"]
        console.print(f"[bold]{outcome.name}[/]: " + "; ".join(lines), soft_wrap=False)


def figure(value: float) -> str:
    """Thousands separated; small ones with as many decimals as they need."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"
