"""A crossing of averages written once more, in plain pandas: the same trades, to the day, the cent and the fee.

Nothing of the kernel is used but the sample's prices: the sums, the sessions (`exchange_calendars`), lots, limits,
slippage and fees by date are all worked out here from their sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from django.conf import settings

from portfolios.backtest.run import Setup, run_backtest
from portfolios.backtest.sample import CODES
from portfolios.backtest.source import open_source
from portfolios.kernel.money import to_units
from portfolios.kernel.rules import rules_for
from tests.portfolios.backtest.support import document

AMOUNT = 500_000


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    """The sample in cents, a row a code and day."""
    rules = rules_for("cn")
    rows = [
        (tick.code, rules.session_of(tick.timestamp), round(tick.price * 100), round((tick.prev_close or 0) * 100))
        for tick in open_source("sample", CODES, rules).ticks()
    ]
    frame = pd.DataFrame(rows, columns=["code", "day", "close", "before"])
    frame["day"] = pd.to_datetime(frame["day"])
    return frame


def crossings(close: pd.Series, short: int, long: int) -> pd.Series:
    """1 where the short average comes to stand above the long one, -1 below; the first full window only sets a side."""
    quick, slow = close.rolling(short).sum(), close.rolling(long).sum()
    side = np.sign(quick * long - slow * short).replace(0, np.nan).ffill()
    return side.where((side != side.shift()) & side.shift().notna(), 0).fillna(0).astype(int)


def limits(code: str, day: pd.Timestamp, before: int) -> tuple[int, int]:
    """Limit-down and limit-up in cents: 10 %, on STAR and (since 2020-08-24) ChiNext 20 %, half a cent up."""
    wide = code.startswith("68") or (code.startswith("30") and day >= pd.Timestamp("2020-08-24"))
    percent = 20 if wide else 10
    return (before * (100 - percent) + 50) // 100, (before * (100 + percent) + 50) // 100


def fee(day: pd.Timestamp, direction: int, amount: int) -> int:
    """Cents on an amount in cents: commission 0.03 %, at least 5 yuan; transfer fee; on sales stamp duty."""
    transfer = 10 if day >= pd.Timestamp("2022-04-29") else 20
    stamp = 500 if day >= pd.Timestamp("2023-08-28") else 1000
    paid = max(_millionths(amount, 300), 500) + _millionths(amount, transfer)
    return paid if direction > 0 else paid + _millionths(amount, stamp)


def _millionths(amount: int, share: int) -> int:
    return (amount * share + 500_000) // 1_000_000


def trades_of(code: str, frame: pd.DataFrame, short: int, long: int) -> list[tuple[Any, ...]]:
    """(day, code, direction, price, volume, fee), prices and fees in cents."""
    sessions = exchange_calendars.get_calendar("XSHG").sessions
    frame = frame[frame["code"] == code].reset_index(drop=True)
    bounds = [limits(code, day, before) for day, before in zip(frame["day"], frame["before"], strict=True)]
    credible = pd.Series([low <= close <= high for close, (low, high) in zip(frame["close"], bounds, strict=True)])
    # What is beyond the limits (the first days of a new share have none, which the rules here do not know) is not used.
    signals = crossings(frame["close"][credible], short, long).reindex(frame.index, fill_value=0)
    found: list[tuple[Any, ...]] = []
    held, order = 0, None  # an order: (direction, volume, the one session that it is good for)
    for (_, day, close, _), (low, high), signal in zip(frame.itertuples(index=False), bounds, signals, strict=True):
        decided = None
        next_day = sessions[sessions.searchsorted(day, side="right")]
        if signal > 0 and not held and order is None:
            volume = AMOUNT * 100 // close
            volume = volume // 100 * 100 if not code.startswith("68") else volume if volume >= 200 else 0
            decided = (1, volume, next_day) if volume else None
        elif signal < 0 and held and order is None:
            decided = (-1, held, next_day)
        if order is not None and order[2] == day:
            direction, volume, _ = order
            if low <= close < high if direction > 0 else low < close <= high:
                price = min(-(-close * 1001 // 1000), high) if direction > 0 else max(close * 999 // 1000, low)
                found.append((day.date(), code, direction, price, volume, fee(day, direction, price * volume)))
                held += direction * volume
        order = decided
    return found


@pytest.mark.parametrize(("short", "long"), [(5, 20), (2, 3), (10, 60)])
@pytest.mark.parametrize("codes", [CODES[:1], CODES], ids=["one code", "seven codes"])
def test_the_trades_are_those_of_plain_pandas(
    prices: pd.DataFrame, codes: Sequence[str], short: int, long: int
) -> None:
    config = document(params={"short_period": short, "long_period": long}, codes=codes, amount=AMOUNT)
    found = run_backtest(Setup(config, Decimal(10_000_000), "sample"), settings.GINKGO.home)
    trades = [
        (day, fill.code, fill.direction, fill.price // 100, fill.volume, (fill.commission + fill.tax) // 100)
        for fill, day, _ in found.fills
    ]
    expected = [trade for code in codes for trade in trades_of(code, prices, short, long)]
    assert len(expected) > 15 * len(codes)
    assert sorted(trades) == sorted(expected)
    assert found.cash == to_units(10_000_000) - sum(
        100 * (direction * price * volume + fees) for _, _, direction, price, volume, fees in expected
    )
