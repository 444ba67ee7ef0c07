"""Peer: backtrader, which trades the crossing of two averages of each code.

`python backtrader_peer.py FILE SHORT LONG AMOUNT` reads a CSV file of minutes; prints one JSON line. No A-share rules.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import backtrader as bt
import pandas as pd


class Cross(bt.Strategy):
    params = (("short", 5), ("long", 20), ("amount", 100_000.0))

    def __init__(self) -> None:
        self.trades = 0
        self.crosses = [
            bt.ind.CrossOver(bt.ind.SMA(data, period=self.p.short), bt.ind.SMA(data, period=self.p.long))
            for data in self.datas
        ]

    def next(self) -> None:
        for data, cross in zip(self.datas, self.crosses, strict=True):
            if cross[0] > 0:
                if not self.getposition(data).size:
                    self.buy(data=data, size=int(self.p.amount // data.close[0] // 100 * 100))
            elif cross[0] < 0 and self.getposition(data).size:
                self.close(data=data)

    def notify_trade(self, trade: Any) -> None:
        self.trades += trade.isclosed


def main(file: str, short: int, long: int, amount: float) -> dict[str, Any]:
    frame = pd.read_csv(file, parse_dates=["timestamp"], index_col="timestamp")
    cerebro = bt.Cerebro(stdstats=False)
    for code, prices in frame.groupby("code"):
        cerebro.adddata(bt.feeds.PandasData(dataname=prices.drop(columns="code")), name=code)
    cerebro.addstrategy(Cross, short=short, long=long, amount=amount)
    cerebro.broker.setcash(10_000_000)
    cerebro.broker.setcommission(commission=0.0003)
    begun = time.perf_counter()
    (found,) = cerebro.run()
    return {"bars": len(frame), "seconds": time.perf_counter() - begun, "trades": found.trades}


if __name__ == "__main__":
    name, quick, slow, value = sys.argv[1:]
    sys.stdout.write(json.dumps(main(name, int(quick), int(slow), float(value))) + "\n")
