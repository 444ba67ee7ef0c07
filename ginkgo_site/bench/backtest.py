"""The backtest: a crossing of averages over minutes, on one code and on seven, beside backtesting.py and backtrader.

The same file of prices and the same strategy for all, each run in a process of its own, in turn; what counts are the
medians of wall-clock time from prices in memory to the result. Ours keeps to the A-share rules (T+1, lots, limits, fees
by date) and writes books that are exact; the peers do neither.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.peers import backtests
from ginkgo_site.bench.programs import measure, module
from ginkgo_site.bench.progress import Say
from portfolios.backtest.sample import CODES

BARS, PEERS_BARS = 300_000, 14_000
"""A peer gets fewer: enough for some seconds."""
MUST_ONE, MUST_SEVEN = 300_000, 200_000
SHORT, LONG, AMOUNT = 5, 20, 100_000
ROUNDS = 3
_MINUTES = 240


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    rivals, absent = backtests.programs(say)
    return [
        _measured(name, codes, must, rivals, absent, say)
        for name, codes, must in (("backtest", CODES[:1], MUST_ONE), ("backtest-seven-codes", CODES, MUST_SEVEN))
    ]


def _measured(
    name: str, codes: Sequence[str], must: float, rivals: dict[str, list[str]], absent: dict[str, str], say: Say
) -> Outcome:
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="gk-bench-") as folder:
        file, short_file = Path(folder) / "prices.csv", Path(folder) / "fewer.csv"
        write_minutes(file, codes, BARS)
        write_minutes(short_file, codes, PEERS_BARS)
        words = [str(SHORT), str(LONG), str(AMOUNT)]
        for number in range(1, ROUNDS + 1):
            ours = measure(module("ginkgo_site.bench.backtest_run", str(file), *words), 300)
            if ours["bars"] != BARS or not ours["fills"]:
                raise BenchError(f"{name}: {ours['bars']:,} prices were traded, with {ours['fills']:,} fills")
            runs.setdefault("ours", []).append(ours)
            said = [f"ours {rate(ours):,.0f}"]
            for rival, program in rivals.items():
                found = measure([*program, str(short_file), *words], 300)
                if not found["trades"]:
                    raise BenchError(f"{name}: {rival} did not trade")
                runs.setdefault(rival, []).append(found)
                said.append(f"{rival} {rate(found):,.0f}")
            say(f"{name}: round {number} of {ROUNDS}: {', '.join(said)} bars/s")
    return outcome(name, must, runs, absent)


def outcome(name: str, must: float, runs: dict[str, list[dict[str, Any]]], absent: dict[str, str]) -> Outcome:
    """The medians of all runs."""
    rates = {who: median([rate(each) for each in found]) for who, found in runs.items()}
    ours = rates.pop("ours")
    details = {f"times {rival}": ours / theirs for rival, theirs in rates.items()}
    details["reading a CSV file included (bars/s)"] = median([r["bars"] / r["file_seconds"] for r in runs["ours"]])
    # What a machine that others use too takes away from one run, it does not add to its processor time.
    details["bars/s of processor time"] = median([r["bars"] / r["cpu_seconds"] for r in runs["ours"]])
    details["fills"] = float(runs["ours"][0]["fills"])
    return Outcome(
        name=name,
        ours=ours,
        unit="bars/s",
        must=must,
        bound="at least",
        peers={**rates, **dict.fromkeys(absent)},
        details=details,
        notes=[f"{peer} is absent: {why}" for peer, why in absent.items()],
        load=os.getloadavg()[0],
    )


def rate(found: dict[str, Any]) -> float:
    """Bars a second of one run."""
    return float(found["bars"] / found["seconds"])


def write_minutes(file: Path, codes: Sequence[str], count: int) -> None:
    """A file of `count` prices of random walks, a minute apart, 240 a weekday; always the same."""
    draw = random.Random(7)
    prices = dict.fromkeys(codes, 50.0)
    closes = dict(prices)
    day, minute, written = datetime(2010, 1, 4, 9, 30), 0, 0  # noqa: DTZ001 - the market's own time
    with file.open("w", encoding="utf-8") as rows:
        rows.write("timestamp,code,open,high,low,close,volume\n")
        while written < count:
            minute += 1
            at = day + timedelta(minutes=minute)
            for code in codes[: count - written]:
                moved = prices[code] * (1 + draw.gauss(0, 0.001))
                prices[code] = price = round(min(max(moved, closes[code] * 0.91), closes[code] * 1.09), 2)
                rows.write(f"{at},{code},{price},{price},{price},{price},1000000\n")
                written += 1
            if minute == _MINUTES:
                day, minute, closes = day + timedelta(days=3 if day.weekday() == 4 else 1), 0, dict(prices)
