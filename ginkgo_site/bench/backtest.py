"""The backtest's loop: a crossing of averages over minutes, on one code and on seven, from memory and from a file."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ginkgo_site.bench.figures import median
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.progress import Say
from portfolios.backtest.engine import Backtest
from portfolios.backtest.sample import CODES
from portfolios.backtest.source import open_source
from portfolios.kernel.config import parse
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import rules_for

BARS = 300_000
MUST_ONE, MUST_SEVEN = 300_000, 200_000
_RUNS = 5
_MINUTES = 240
_PORTFOLIO = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e11"


def run(say: Say) -> list[Outcome]:
    """Medians of wall-clock time; the file's rate includes reading it."""
    outcomes = []
    for name, codes, must in (("backtest", CODES[:1], MUST_ONE), ("backtest-seven-codes", CODES, MUST_SEVEN)):
        ticks = minutes(codes, BARS)
        rate = median([_rate(ticks, codes) for _ in range(_RUNS)])
        read = median([_rate_of_file(ticks, codes) for _ in range(3)])
        say(f"{name}: {rate:,.0f} bars/s, {read:,.0f} bars/s from a CSV file")
        outcomes.append(
            Outcome(
                name=name,
                ours=rate,
                unit="bars/s",
                must=must,
                bound="at least",
                details={"from a CSV file (bars/s)": read},
                load=os.getloadavg()[0],
            )
        )
    return outcomes


def minutes(codes: Sequence[str], count: int) -> list[PriceUpdate]:
    """`count` prices of random walks, a minute apart, 240 a weekday; always the same."""
    draw = random.Random(7)
    prices = dict.fromkeys(codes, 50.0)
    closes = dict(prices)
    day, minute = datetime(2010, 1, 4, 1, 30, tzinfo=UTC), 0
    ticks: list[PriceUpdate] = []
    while len(ticks) < count:
        minute += 1
        for code in codes:
            moved = prices[code] * (1 + draw.gauss(0, 0.001))
            prices[code] = price = round(min(max(moved, closes[code] * 0.91), closes[code] * 1.09), 2)
            at = day + timedelta(minutes=minute)
            ticks.append(PriceUpdate(code=code, timestamp=at, price=price, prev_close=closes[code], close=price))
        if minute == _MINUTES:
            day, minute, closes = day + timedelta(days=3 if day.weekday() == 4 else 1), 0, dict(prices)
    return ticks


def _backtest(codes: Sequence[str]) -> Backtest:
    config = {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 100_000}},
        "codes": list(codes),
    }
    return Backtest(Portfolio(_PORTFOLIO, parse(config), rules_for("cn"), to_units(10_000_000)))


def _rate(ticks: Sequence[PriceUpdate], codes: Sequence[str]) -> float:
    backtest = _backtest(codes)
    begun = time.perf_counter()
    found = backtest.run(ticks)
    seconds = time.perf_counter() - begun
    assert found.bars == len(ticks) and len(found.fills) > 100
    return found.bars / seconds


def _rate_of_file(ticks: Sequence[PriceUpdate], codes: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prices.csv")
        rows = (f"{each.timestamp.isoformat()},{each.code},{each.price},{each.prev_close}\n" for each in ticks)
        file.write_text("timestamp,code,price,prev_close\n" + "".join(rows))
        backtest = _backtest(codes)
        source = open_source(str(file), codes, rules_for("cn"))
        begun = time.perf_counter()
        bars = backtest.run(source.ticks()).bars
        return bars / (time.perf_counter() - begun)
