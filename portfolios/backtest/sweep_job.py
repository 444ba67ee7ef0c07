"""What a sweep asks of its processes: a backtest as it goes over a pipe, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from portfolios.backtest.run import Setup, run_as_live
from portfolios.calendars import CalendarError
from portfolios.errors import InvalidConfig, PortfolioError
from portfolios.report.document import document
from portfolios.report.measures import measure


class Job(msgspec.Struct):
    """The fields of a `Setup`, and the home directory."""

    config: dict[str, Any]
    initial_cash: Decimal
    data: str
    start: date | None
    end: date | None
    portfolio_id: str
    market: str | None
    commission_rate: float | None
    slippage_rate: float
    home: str


class Answer(msgspec.Struct):
    """What came of a job as `portfolios.report.document` has it, or why nothing did."""

    document: dict[str, Any] | None = None
    error: str | None = None


def job_of(setup: Setup, config: dict[str, Any], home: Path) -> Job:
    """`setup` with another configuration."""
    given = {each.name: getattr(setup, each.name) for each in fields(Setup)}
    return Job(**{**given, "config": config, "home": str(home)})


def answer(job: Job) -> Answer:
    """Runs it. Never raises for what is wrong with the job."""
    given: Mapping[str, Any] = {each.name: getattr(job, each.name) for each in fields(Setup)}
    try:
        result = run_as_live(Setup(**given), Path(job.home))
    except InvalidConfig as error:
        return Answer(error="; ".join(map(str, error.faults)))
    except (PortfolioError, CalendarError) as error:
        return Answer(error=str(error))
    return Answer(document=document(result, measure(result)))
