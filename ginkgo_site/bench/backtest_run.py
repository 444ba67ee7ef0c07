"""One backtest of ours in a process of its own: `python -m ginkgo_site.bench.backtest_run FILE SHORT LONG AMOUNT`.

Prints one JSON line: how many prices and fills, the seconds from prices in memory to the result, and those that it
takes when the file is read as well.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from portfolios.backtest.engine import Backtest
from portfolios.backtest.source import open_source
from portfolios.kernel.config import parse
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import rules_for

_PORTFOLIO = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e11"
_CASH = 10_000_000


def main(file: str, short: int, long: int, amount: float) -> dict[str, Any]:
    with Path(file).open(encoding="utf-8") as rows:
        codes = list(dict.fromkeys(row.split(",")[1] for row in islice(rows, 1, 100)))
    config = parse(
        {
            "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": short, "long_period": long}},
            "sizer": {"name": "FixedAmountSizer", "params": {"amount": amount}},
            "codes": codes,
        }
    )
    rules = rules_for("cn")

    def backtest() -> Backtest:
        return Backtest(Portfolio(_PORTFOLIO, config, rules, to_units(_CASH)))

    source = open_source(file, codes, rules)
    ticks = list(source.ticks())
    backtest().run(ticks[:2000])  # the rule data are read once a process
    begun, cpu = time.perf_counter(), time.process_time()
    found = backtest().run(ticks)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    del ticks
    begun = time.perf_counter()
    backtest().run(open_source(file, codes, rules).ticks())
    file_seconds = time.perf_counter() - begun
    return {
        "bars": found.bars,
        "fills": len(found.fills),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "file_seconds": file_seconds,
    }


if __name__ == "__main__":
    name, quick, slow, value = sys.argv[1:]
    sys.stdout.write(json.dumps(main(name, int(quick), int(slow), float(value))) + "\n")
