"""The runs of a sweep, best first: as a table of 80 columns and as a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portfolios.backtest.grid import Axis, Point
from portfolios.backtest.sweep import Swept
from portfolios.report.document import percent, ratio

_LESS_IS_BETTER = ("max_drawdown", "volatility", "turnover", "fees")
_SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "return": ("Return", lambda share: percent(share, sign=True)),
    "annual_return": ("Annualised", lambda share: percent(share, sign=True)),
    "max_drawdown": ("Drawdown", percent),
    "sharpe": ("Sharpe", ratio),
    "sortino": ("Sortino", ratio),
    "volatility": ("Volatility", percent),
    "turnover": ("Turnover", ratio),
    "win_rate": ("Won", percent),
    "profit_factor": ("Profit factor", ratio),
    "trades": ("Trades", lambda count: f"{count:,}"),
    "fees": ("Fees", lambda amount: f"{amount:,.0f}"),
    "final_value": ("Value", lambda amount: f"{amount:,.0f}"),
}
_ALWAYS = ("return", "max_drawdown", "sharpe", "trades")
MEASURES = tuple(_SHOWN)


def ranked(
    runs: Sequence[tuple[Point, dict[str, Any]]], measure: str
) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    """(values, result) by a measure, the best first: the least drawdown, volatility, turnover or fees, else the most.
    One without that measure comes last; equal ones stay in the order of the grid."""
    sign = 1 if measure in _LESS_IS_BETTER else -1

    def place(run: tuple[Point, dict[str, Any]]) -> tuple[bool, float]:
        value = run[1].get(measure)
        return value is None, 0.0 if value is None else sign * value

    return [(point.values, found) for point, found in sorted(runs, key=place)]


def columns(axes: Sequence[Axis], measure: str) -> list[str]:
    """The table's heads: the parameters by the shortest names that tell them apart, then the measures."""
    return [*_names([axis.path for axis in axes]), *(_SHOWN[each][0] for each in _measures(measure))]


def row(values: Mapping[str, Any], found: Mapping[str, Any], axes: Sequence[Axis], measure: str) -> list[str]:
    shown = [_value(values[axis.path]) for axis in axes]
    for each in _measures(measure):
        figure = found.get(each)
        shown.append("-" if figure is None else _SHOWN[each][1](figure))
    return shown


def document(swept: Swept, best: Sequence[tuple[Mapping[str, Any], dict[str, Any]]], measure: str) -> dict[str, Any]:
    """All of a sweep: `runs` sorted, each with its `params` and all that one backtest's document has."""
    return {
        "sort": measure,
        "results": str(swept.file),
        "combinations": len(swept.runs) + len(swept.failed) + len(swept.skipped),
        "kept": swept.kept,
        "runs": [{"params": values, **found} for values, found in best],
        "skipped": [{"params": point.values, "reason": point.fault} for point in swept.skipped],
        "failed": [{"params": point.values, "reason": why} for point, why in swept.failed],
    }


def named(values: Mapping[str, Any]) -> str:
    """`short_period=20, long_period=10`."""
    names = _names(list(values))
    return ", ".join(f"{name}={_value(value)}" for name, value in zip(names, values.values(), strict=True))


def _measures(measure: str) -> list[str]:
    return list(dict.fromkeys((measure, *_ALWAYS)))


def _names(paths: Sequence[str]) -> list[str]:
    for parts in range(1, 1 + max((path.count(".") for path in paths), default=0)):
        names = [".".join(path.split(".")[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
