"""`ginkgo backtest sweep`: every combination of a grid of parameters, over all processors, sorted by a measure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django_typer.management import TyperCommand, command
from typer import Exit, Option

from portfolios.backtest.engine import SLIPPAGE_RATE
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.grid import axes_of, points_of
from portfolios.backtest.sweep import Swept, sweep
from portfolios.console import plain_errors, print_json, print_table
from portfolios.management.backtest import words
from portfolios.report.ranking import MEASURES, columns, document, named, ranked, row


class Sweeping(TyperCommand):
    @command()
    def sweep(
        self,
        grid: Annotated[
            list[str] | None,
            Option(
                "--grid",
                metavar="PLACE=VALUES",
                help="What is to be tried: strategy.params.short_period=3,5,8, or a range =10..60..10. As often as "
                "there are places; every combination is run.",
            ),
        ] = None,
        portfolio_id: words.PortfolioId = None,
        config: words.Config = None,
        start_date: words.StartDate = None,
        end_date: words.EndDate = None,
        initial_cash: words.InitialCash = None,
        data: words.Data = "sample",
        commission_rate: words.CommissionRate = None,
        slippage_rate: words.SlippageRate = SLIPPAGE_RATE,
        sort: Annotated[str, Option("--sort", help=f"By which measure: {', '.join(MEASURES)}.")] = "sharpe",
        top: Annotated[int, Option("--top", min=1, help="How many the table shows; --json has all.")] = 20,
        jobs: Annotated[
            int | None, Option("--jobs", min=1, max=256, help="Processes; by default one a processor.")
        ] = None,
        results: Annotated[
            Path | None,
            Option("--results", help="Where results are kept; the same sweep again runs only what is missing there."),
        ] = None,
        fresh: Annotated[bool, Option("--fresh", help="Run all of it again.")] = False,
        as_json: words.Json = False,
    ) -> None:
        """Run every combination of a grid and list them, best first. One that was interrupted goes on where it was."""
        with plain_errors():
            if sort not in MEASURES:
                raise BacktestError(f"--sort must be one of {', '.join(MEASURES)}, got {sort!r}")
            axes = axes_of(grid or [])
            name, setup = words.setup_of(
                portfolio_id, config, start_date, end_date, initial_cash, data, commission_rate, slippage_rate
            )
            points = points_of(setup.config, axes, setup.market)
            with words.progress_of("Sweep") as progress:
                swept = sweep(
                    setup,
                    points,
                    settings.GINKGO.home,
                    file=results,
                    fresh=fresh,
                    jobs=jobs,
                    progress=None if progress is None else _share(progress),
                )
            if not swept.runs:
                raise BacktestError(f"none of {len(swept.failed)} backtests could be run: {swept.failed[0][1]}")
        best = ranked(swept.runs, sort)
        if as_json:
            print_json(document(swept, best, sort))
        else:
            shown = columns(axes, sort)
            rows = [row(values, found, axes, sort) for values, found in best[:top]]
            print_table(f"Sweep of {name}, by {sort}", shown, rows, right=shown)
            _say_rest(swept, len(best), top)
        for point, why in swept.failed:
            sys.stderr.write(f"not run: {named(point.values)}: {why}\n")
        if swept.failed:
            raise Exit(1)


def _share(progress: Callable[[float], None]) -> Callable[[int, int], None]:
    return lambda done, of: progress(done / of if of else 1.0)


def _say_rest(swept: Swept, shown: int, top: int) -> None:
    """What the table leaves out, and where it all is."""
    if shown > top:
        sys.stdout.write(f"… and {shown - top:,} more (--top, or --json for all)\n")
    if swept.skipped:
        first = swept.skipped[0]
        many = "combination is" if len(swept.skipped) == 1 else "combinations are"
        sys.stdout.write(f"{len(swept.skipped):,} {many} not valid and left out, such as\n")
        sys.stdout.write(f"  {named(first.values)}:\n")
        sys.stdout.write(f"  {first.fault}\n")
    if swept.kept:
        sys.stdout.write(f"{swept.kept:,} of {shown:,} had been run before\n")
    sys.stdout.write(f"Kept in {swept.file}\n")
