"""One backtest from what a user gives: configuration, cash, dates and data. The interface of commands and notebooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

from django.conf import settings
from django.utils.module_loading import import_string

from portfolios import configs
from portfolios.backtest.engine import SLIPPAGE_RATE, Backtest, Gate, Hear
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import Locate, locate
from portfolios.backtest.recorded import RecordedFile
from portfolios.backtest.result import Result
from portfolios.backtest.source import open_source
from portfolios.calendars import trading_days
from portfolios.errors import InvalidConfig
from portfolios.kernel.codes import market_of
from portfolios.kernel.config import Fault, PortfolioConfig, parse
from portfolios.kernel.events import Feedback
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import Order
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import rules_for

NOBODY = str(uuid5(NAMESPACE_URL, "ginkgo:backtest"))
"""The portfolio id of a run that is of no portfolio: order ids are made from it."""


class Judge(Protocol):
    """Judges the orders of one backtest (`Gate`) by what it hears of them. An upper layer's, known by its name in the
    settings alone."""

    def __call__(self, order: Order, portfolio: Portfolio) -> str | None: ...
    def hear(self, feedback: Feedback) -> None: ...


@dataclass(frozen=True)
class Setup:
    """What is to be run. `data` is `sample` or a file; `start` and `end` are trading days, None: all there is.
    Rates are shares of the amount and of the price; a commission of None is the market's own
    (`portfolios.kernel.rules.COMMISSION_RATES`)."""

    config: Mapping[str, Any]
    initial_cash: Decimal
    data: str
    start: date | None = None
    end: date | None = None
    portfolio_id: str = NOBODY
    market: str | None = None
    commission_rate: float | None = None
    slippage_rate: float = SLIPPAGE_RATE


def run_backtest(
    setup: Setup,
    home: Path,
    *,
    progress: Callable[[float], None] | None = None,
    locate: Locate = locate,
    gate: Gate | None = None,
    hear: Hear | None = None,
) -> Result:
    """Runs it and returns what came of it. `home` keeps the trading days; `progress` is told the share that is done,
    `hear` every answer that the portfolio gets. A recorded stream keeps its own places in the log.

    InvalidConfig with every fault of the config and the cash, BacktestError for what else is wrong, CalendarError
    if the trading days cannot be had.
    """
    config = _checked(setup)
    market = setup.market or market_of(config.codes[0])
    if setup.start is not None and setup.end is not None and setup.start > setup.end:
        raise BacktestError(f"the start date ({setup.start}) is after the end date ({setup.end})")
    for name, rate in (("commission rate", setup.commission_rate), ("slippage rate", setup.slippage_rate)):
        if rate is not None and not 0 <= rate < 1:
            raise BacktestError(f"the {name} must be at least 0 and less than 1, got {rate:g}")
    rules = rules_for(market, trading_days(market, home), commission_rate=setup.commission_rate)
    source = open_source(setup.data, config.codes, rules)
    backtest = Backtest(
        Portfolio(setup.portfolio_id, config, rules, to_units(setup.initial_cash)),
        slippage_rate=setup.slippage_rate,
        locate=locate,
        gate=gate,
        hear=hear,
        on_session=None if progress is None else lambda day: progress(source.done),
    )
    began = time.perf_counter()
    ticks = backtest.placed(source.log()) if isinstance(source, RecordedFile) else source.ticks()
    result = backtest.run(ticks, setup.start, setup.end)
    result.elapsed = time.perf_counter() - began
    return result


def run_as_live(setup: Setup, home: Path, progress: Callable[[float], None] | None = None) -> Result:
    """`run_backtest` with the engine's own pre-trade checks: what the engine would reject is rejected here."""
    judge: Judge = import_string(settings.GINKGO_PRETRADE)()
    return run_backtest(setup, home, progress=progress, gate=judge, hear=judge.hear)


def _checked(setup: Setup) -> PortfolioConfig:
    cash, faults = configs.cash_of(setup.initial_cash)
    faults += configs.faults_of(setup.config, setup.market or market_of_config(setup.config))
    if faults or cash is None:
        raise InvalidConfig(faults)
    return parse(setup.config)


def market_of_config(config: Any) -> str:
    """That of its first code; what is wrong with the codes, the config's own checks say."""
    codes = config.get("codes") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping):
        raise InvalidConfig([Fault("config", "must be an object")])
    return market_of(codes[0]) if isinstance(codes, list) and codes and isinstance(codes[0], str) else "cn"
