"""The options that all backtests share, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeAlias

from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from typer import Option

from portfolios import configs, services
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.run import Setup
from portfolios.errors import InvalidConfig
from portfolios.management.options import read_json

CASH = "1000000"

PortfolioId: TypeAlias = Annotated[
    str | None, Option("--portfolio-id", help="A portfolio's id, the beginning of it, or its name.")
]
Config: TypeAlias = Annotated[Path | None, Option("--config", help="Or a file with a configuration (JSON).")]
StartDate: TypeAlias = Annotated[
    str | None, Option("--start-date", help="First day, YYYY-MM-DD. Prices before it warm the strategy up.")
]
EndDate: TypeAlias = Annotated[str | None, Option("--end-date", help="Last day, YYYY-MM-DD.")]
InitialCash: TypeAlias = Annotated[
    str | None, Option("--initial-cash", help=f"The portfolio's own, or {CASH}, if not given.")
]
Data: TypeAlias = Annotated[
    str, Option("--data", help="sample, history (ticks), history:1d (bars), FILE.csv or FILE.parquet.")
]
CommissionRate: TypeAlias = Annotated[
    float | None,
    Option("--commission-rate", help="The broker's share of the amount; its market's own, if not given."),
]
SlippageRate: TypeAlias = Annotated[float, Option("--slippage-rate", help="By how much market orders trade worse.")]
Json: TypeAlias = Annotated[bool, Option("--json", help="One JSON document on stdout.")]


def setup_of(
    portfolio_id: str | None,
    config: Path | None,
    start_date: str | None,
    end_date: str | None,
    initial_cash: str | None,
    data: str,
    commission_rate: float | None,
    slippage_rate: float,
) -> tuple[str, Setup]:
    """(name, what to run). BacktestError or InvalidConfig for what is wrong."""
    name, setup = _portfolio(portfolio_id, config, initial_cash)
    return name, replace(
        setup,
        data=data,
        start=_day("--start-date", start_date),
        end=_day("--end-date", end_date),
        commission_rate=commission_rate,
        slippage_rate=slippage_rate,
    )


def _portfolio(portfolio: str | None, file: Path | None, cash: str | None) -> tuple[str, Setup]:
    """By the portfolio's id or the configuration's file."""
    if (portfolio is None) == (file is None):
        raise CommandError("give either --portfolio-id or --config")
    if portfolio is not None:
        found = services.find(portfolio)
        amount = found.initial_cash if cash is None else _cash(cash)
        return found.name, Setup(found.config, amount, "", portfolio_id=found.id, market=found.market)
    assert file is not None
    return file.stem, Setup(read_json(file), _cash(CASH if cash is None else cash), "")


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
def progress_of(what: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr that is told the share that is done; None where there is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(None), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)
