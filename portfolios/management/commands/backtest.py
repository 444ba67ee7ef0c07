"""`ginkgo backtest`: a portfolio, or a configuration, over history."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer import Option

from portfolios import configs, services
from portfolios.backtest.engine import SLIPPAGE_RATE
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.fills import export_fills
from portfolios.backtest.run import Setup, run_backtest
from portfolios.console import plain_errors, print_json, print_table
from portfolios.errors import InvalidConfig
from portfolios.management.options import read_json
from portfolios.report.document import document, lines
from portfolios.report.measures import measure
from portfolios.report.page import write_page

_CASH = "1000000"
Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]


class Command(TyperCommand):
    help = "Backtests: a portfolio over history."

    @initialize()
    def init(self) -> None:
        """Backtests: a portfolio over history."""

    @command()
    def run(
        self,
        portfolio_id: Annotated[
            str | None, Option("--portfolio-id", help="A portfolio's id, the beginning of it, or its name.")
        ] = None,
        config: Annotated[Path | None, Option("--config", help="Or a file with a configuration (JSON).")] = None,
        start_date: Annotated[
            str | None, Option("--start-date", help="First day, YYYY-MM-DD. Prices before it warm the strategy up.")
        ] = None,
        end_date: Annotated[str | None, Option("--end-date", help="Last day, YYYY-MM-DD.")] = None,
        initial_cash: Annotated[
            str | None, Option("--initial-cash", help=f"The portfolio's own, or {_CASH}, if not given.")
        ] = None,
        data: Annotated[
            str, Option("--data", help="sample, history (ticks), history:1d (bars), FILE.csv or FILE.parquet.")
        ] = "sample",
        commission_rate: Annotated[
            float | None,
            Option("--commission-rate", help="The broker's share of the amount; its market's own, if not given."),
        ] = None,
        slippage_rate: Annotated[
            float, Option("--slippage-rate", help="By how much market orders trade worse.")
        ] = SLIPPAGE_RATE,
        html: Annotated[Path | None, Option("--html", help="Write a page with charts to this file.")] = None,
        fills: Annotated[Path | None, Option("--export-fills", help="Write the fills to this file (CSV).")] = None,
        as_json: Json = False,
    ) -> None:
        """Run one and report what came of it."""
        with plain_errors():
            name, setup = _setup(portfolio_id, config, initial_cash)
            setup = replace(
                setup,
                data=data,
                start=_day("--start-date", start_date),
                end=_day("--end-date", end_date),
                commission_rate=commission_rate,
                slippage_rate=slippage_rate,
            )
            for file in (html, fills):
                if file is not None and not file.absolute().parent.is_dir():
                    raise BacktestError(f"{file}: there is no such directory")
            with _progress() as progress:
                result = run_backtest(setup, settings.GINKGO.home, progress=progress)
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


def _setup(portfolio: str | None, file: Path | None, cash: str | None) -> tuple[str, Setup]:
    """(name, what to run) by the portfolio's id or the configuration's file."""
    if (portfolio is None) == (file is None):
        raise CommandError("give either --portfolio-id or --config")
    if portfolio is not None:
        found = services.find(portfolio)
        amount = found.initial_cash if cash is None else _cash(cash)
        return found.name, Setup(found.config, amount, "", portfolio_id=found.id, market=found.market)
    assert file is not None
    return file.stem, Setup(read_json(file), _cash(_CASH if cash is None else cash), "")


def _cash(text: str) -> Decimal:
    cash, faults = configs.cash_of(text)
    if cash is None:
        raise InvalidConfig(faults)
    return cash


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BacktestError(f"{option} must be a day such as 2024-12-31, got {text!r}") from None


@contextmanager
def _progress() -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr, on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("Backtest"), BarColumn(None), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Backtest", total=1.0)
        yield lambda share: bar.update(task, completed=share)
