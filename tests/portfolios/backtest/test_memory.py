"""The memory of a backtest does not grow with its prices: measured on the command's own process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from ginkgo_site.bench.backtest import write_minutes
from ginkgo_site.supervisor.detach import command, environment
from portfolios.backtest.sample import CODES
from portfolios.calendars import trading_days
from tests.portfolios.backtest.support import document

MOST_MB = 150


def peak_mb(folder: Path, bars: int) -> float:
    """Peak resident memory of `ginkgo backtest run` over so many minutes."""
    config, prices = folder / "config.json", folder / f"{bars}.csv"
    config.write_text(json.dumps(document(params={"short_period": 5, "long_period": 20}, codes=CODES[:1])))
    write_minutes(prices, CODES[:1], bars)
    trading_days("cn", settings.GINKGO.home)  # a child process of its own computes them: not in the midst of this
    words = command("backtest", "run", "--config", str(config), "--data", str(prices), "--json")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, found["bars"]) == (0, bars)
    assert found["fills"] > bars / 1000
    return used.ru_maxrss / 1024


def test_ten_times_the_prices_take_hardly_more_memory(tmp_path: Path) -> None:
    few, many = peak_mb(tmp_path, 5_000), peak_mb(tmp_path, 50_000)
    # Its fills and orders are kept, some hundreds of bytes a price would be 15 MB.
    assert many - few < 6


@pytest.mark.slow
def test_a_million_prices_fit(tmp_path: Path) -> None:
    few, many = peak_mb(tmp_path, 100_000), peak_mb(tmp_path, 1_000_000)
    assert many < MOST_MB
    assert many - few < 30
