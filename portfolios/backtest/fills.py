"""The fills of a backtest as CSV, in the form that `python -m marina_rules.check --strict` audits."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from portfolios.backtest.errors import BacktestError
from portfolios.backtest.result import Traded
from portfolios.kernel.codes import market_of
from portfolios.kernel.money import to_float
from portfolios.kernel.orders import BUY
from portfolios.kernel.rules.cn import scope_of

_EXCHANGES = {"SH": "XSHG", "SZ": "XSHE", "BJ": "BJSE"}
COLUMNS = (
    "date", "code", "side", "price", "prev_close", "scope", "fee", "turnover",
    "market", "volume", "timestamp", "order_id", "fill_id",
)  # fmt: skip


def export_fills(fills: Iterable[Traded], path: Path, st: frozenset[str] = frozenset()) -> int:
    """Writes the fills to `path` and returns how many. BacktestError if it cannot be written.

    `fee` is commission and tax, `turnover` the amount; `scope` and `market` (A-shares only) are the rules' names of the
    board and the exchange. `st`: codes under special treatment.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            return _write(fills, file, st)
    except OSError as error:
        raise BacktestError(f"{path}: {error.strerror or error}") from None


def _write(fills: Iterable[Traded], file: TextIO, st: frozenset[str]) -> int:
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    for fill, day, prev_close in fills:
        cn = market_of(fill.code) == "cn"
        writer.writerow(
            (
                day.isoformat(),
                fill.code,
                "buy" if fill.direction == BUY else "sell",
                to_float(fill.price),
                "" if prev_close is None else to_float(prev_close),
                scope_of(fill.code, fill.code in st) if cn else "",
                to_float(fill.commission + fill.tax),
                to_float(fill.amount),
                _EXCHANGES[fill.code.rpartition(".")[2]] if cn else "",
                fill.volume,
                fill.timestamp.isoformat(),
                fill.order_id,
                fill.fill_id,
            )
        )
        count += 1
    return count
