"""Peer: backtesting.py, which trades the crossing of two averages of one code.

`python backtesting_peer.py FILE SHORT LONG AMOUNT` reads a CSV file of minutes; prints one JSON line. It knows one
instrument a run: the codes of a file are run one after the other, each with cash of its own. No A-share rules.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover


def strategy(short: int, long: int, amount: float) -> type[Strategy]:
    class Cross(Strategy):
        def init(self) -> None:
            close = pd.Series(self.data.Close)
            self.quick = self.I(lambda: close.rolling(short).mean(), plot=False)
            self.slow = self.I(lambda: close.rolling(long).mean(), plot=False)

        def next(self) -> None:
            if crossover(self.quick, self.slow):
                if not self.position:
                    self.buy(size=int(amount // self.data.Close[-1] // 100 * 100))
            elif crossover(self.slow, self.quick):
                self.position.close()

    return Cross


def main(file: str, short: int, long: int, amount: float) -> dict[str, Any]:
    frame = pd.read_csv(file, parse_dates=["timestamp"], index_col="timestamp")
    frame = frame.rename(columns=str.title)
    cross = strategy(short, long, amount)
    seconds, trades = 0.0, 0
    for _, prices in frame.groupby("Code"):
        begun = time.perf_counter()
        found = Backtest(prices, cross, cash=10_000_000, commission=0.0003, finalize_trades=True).run()
        seconds += time.perf_counter() - begun
        trades += int(found["# Trades"])
    return {"bars": len(frame), "seconds": seconds, "trades": trades}


if __name__ == "__main__":
    name, quick, slow, value = sys.argv[1:]
    sys.stdout.write(json.dumps(main(name, int(quick), int(slow), float(value))) + "\n")
