"""`ginkgo backtest run`: one portfolio, or one configuration, over history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django_typer.management import TyperCommand, command
from typer import Option

from portfolios.backtest.engine import SLIPPAGE_RATE
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.fills import export_fills
from portfolios.backtest.run import run_as_live
from portfolios.console import plain_errors, print_json, print_table
from portfolios.management.backtest import words
from portfolios.report.document import document, lines
from portfolios.report.measures import measure
from portfolios.report.page import write_page


class Running(TyperCommand):
    @command()
    def run(
        self,
        portfolio_id: words.PortfolioId = None,
        config: words.Config = None,
        start_date: words.StartDate = None,
        end_date: words.EndDate = None,
        initial_cash: words.InitialCash = None,
        data: words.Data = "sample",
        commission_rate: words.CommissionRate = None,
        slippage_rate: words.SlippageRate = SLIPPAGE_RATE,
        html: Annotated[Path | None, Option("--html", help="Write a page with charts to this file.")] = None,
        fills: Annotated[Path | None, Option("--export-fills", help="Write the fills to this file (CSV).")] = None,
        as_json: words.Json = False,
    ) -> None:
        """Run one and report what came of it."""
        with plain_errors():
            name, setup = words.setup_of(
                portfolio_id, config, start_date, end_date, initial_cash, data, commission_rate, slippage_rate
            )
            for file in (html, fills):
                if file is not None and not file.absolute().parent.is_dir():
                    raise BacktestError(f"{file}: there is no such directory")
            with words.progress_of("Backtest") as progress:
                result = run_as_live(setup, settings.GINKGO.home, progress)
            measures = measure(result)
            if fills is not None:
                export_fills(result.fills, fills, frozenset(setup.config.get("policy", {}).get("st", [])))
            if html is not None:
                write_page(html, name, setup.config, result, measures)
        if as_json:
            return print_json(document(result, measures))
        print_table(f"Backtest of {name}", ("Measure", "Value"), lines(result, measures))
        for file in (html, fills):
            if file is not None:
                sys.stdout.write(f"Wrote {file}\n")
        return None
