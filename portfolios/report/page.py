"""A backtest's report as one HTML page: no script, nothing from the network, light and dark."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from portfolios.backtest.errors import BacktestError
from portfolios.backtest.result import Result, Traded
from portfolios.kernel.money import to_float
from portfolios.kernel.orders import BUY
from portfolios.report.chart import Chart, Mark
from portfolios.report.document import lines, money, percent, ratio
from portfolios.report.measures import Measures, drawdowns
from portfolios.report.style import STYLE
from portfolios.report.trips import Trip, round_trips

MOST_CODES = 12
"""Price charts, those of the codes with the most fills; a page stays small enough to be opened."""


def write_page(file: Path, name: str, config: Mapping[str, Any], result: Result, measures: Measures) -> None:
    """BacktestError if the file cannot be written."""
    try:
        file.write_text(page(name, config, result, measures), encoding="utf-8")
    except OSError as error:
        raise BacktestError(f"{file}: {error.strerror or error}") from None


def page(name: str, config: Mapping[str, Any], result: Result, measures: Measures) -> str:
    """The whole page. `config` is the P2 object that was run."""
    title = escape(f"Backtest of {name}")
    strategy = config.get("strategy", {})
    what = f"{strategy.get('name', '')} {_params(strategy.get('params', {}))}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{escape(what)} · {result.days[0]} to {result.days[-1]} · {result.bars:,} prices</p>
</header>
<main>
<section class="tiles">{_tiles(result, measures)}</section>
{_figure("Equity", f"Total value at the end of each session, {result.currency}; dashed: at the start", _equity(result))}
{_figure("Drawdown", "Below the highest value so far", _drawdown(result))}
{_prices(result)}
<section class="columns">
<div><h2>Measures</h2>{_table((), lines(result, measures))}</div>
<div><h2>Round trips by code</h2>{_by_code(round_trips(result.fills))}</div>
</section>
<details><summary>Configuration</summary><pre>{escape(json.dumps(config, indent=2, ensure_ascii=False))}</pre></details>
</main>
</body>
</html>
"""


def _tiles(result: Result, measures: Measures) -> str:
    tiles = (
        ("Return", percent(measures.total_return, sign=True), f"{money(result.final_value)} {result.currency}"),
        ("Annualised", percent(measures.annual_return, sign=True), f"volatility {percent(measures.volatility)}"),
        ("Max drawdown", percent(-measures.drawdown.depth), _when(measures)),
        ("Sharpe", ratio(measures.sharpe), f"Sortino {ratio(measures.sortino)}"),
        ("Round trips", f"{measures.trades:,}", f"{percent(measures.win_rate)} won"),
        ("Fees", money(measures.fees), f"turnover {ratio(measures.turnover)} a year"),
    )
    return "".join(
        f"<div><span>{escape(label)}</span><b>{escape(value)}</b><small>{_text(note)}</small></div>"
        for label, value, note in tiles
    )


def _when(measures: Measures) -> str:
    fall = measures.drawdown
    return "never below its start" if fall.trough is None else f"{fall.peak or 'start'} to {fall.trough}"


def _equity(result: Result) -> str:
    start = to_float(result.initial_cash)
    values = [to_float(value) for value in result.equity]
    return Chart(result.days, values, 300, _short, extra=(start,)).line("Equity", reference=start)


def _drawdown(result: Result) -> str:
    values = drawdowns(result.initial_cash, result.equity)
    return Chart(result.days, values, 150, lambda value: f"{value * 100:g} %", extra=(0.0,)).area("Drawdown")


def _prices(result: Result) -> str:
    """A chart a code that traded: its closes, and each fill on the session in which it was."""
    by_code: dict[str, list[Traded]] = defaultdict(list)
    for traded in result.fills:
        by_code[traded.fill.code].append(traded)
    place = {day: at for at, day in enumerate(result.days)}
    busiest = sorted(by_code, key=lambda code: (-len(by_code[code]), code))
    charts = []
    for code in busiest[:MOST_CODES]:
        closes = [price or None for price in result.closes.get(code, ())]
        marks = [_mark(traded, place[traded.day]) for traded in by_code[code]]
        prices = [to_float(traded.fill.price) for traded in by_code[code]]
        chart = Chart(result.days, closes, 210, _short, extra=prices)
        note = f"{len(marks):,} fills on the close of each session"
        charts.append(_figure(code, note, chart.line(f"Price and trades of {code}", marks), legend=True))
    if len(busiest) > MOST_CODES:
        charts.append(f"<p>{len(busiest) - MOST_CODES} more codes traded less and are not drawn.</p>")
    return "\n".join(charts)


def _mark(traded: Traded, at: int) -> Mark:
    fill = traded.fill
    side = "buy" if fill.direction == BUY else "sell"
    title = f"{traded.day}: {side} {fill.volume:,} at {to_float(fill.price):g}"
    return Mark(at, to_float(fill.price), fill.direction, title)


def _by_code(trips: Sequence[Trip]) -> str:
    if not trips:
        return "<p>None was closed.</p>"
    by_code: dict[str, list[Trip]] = defaultdict(list)
    for trip in trips:
        by_code[trip.code].append(trip)
    rows = [
        (
            code,
            f"{len(own):,}",
            percent(sum(trip.profit > 0 for trip in own) / len(own)),
            money(sum(trip.profit for trip in own)),
        )
        for code, own in sorted(by_code.items())
    ]
    return _table(("Code", "Trips", "Won", "Profit"), rows)


def _figure(title: str, note: str, chart: str, *, legend: bool = False) -> str:
    key = ' <span class="key buy">▲ buy</span> <span class="key sell">▼ sell</span>' if legend else ""
    return (
        f"<figure><figcaption><h2>{escape(title)}</h2><p>{escape(note)}{key}</p></figcaption>"
        f'<div class="chart">{chart}</div></figure>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """A day is never broken in two."""
    return re.sub(r"\d{4}-\d\d-\d\d", r"<time>\g<0></time>", escape(text))


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())


def _short(value: float) -> str:
    """An axis's value: 1.25 M, 980 k, 12.5."""
    size = abs(value)
    if size >= 1_000_000:
        return f"{value / 1_000_000:.6g} M"
    return f"{value / 1_000:.6g} k" if size >= 10_000 else f"{value:.6g}"
