"""A backtest's report as one JSON document and as a table of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portfolios.backtest.result import Result
from portfolios.kernel.money import to_float
from portfolios.report.measures import SESSIONS_PER_YEAR, Measures


def document(result: Result, measures: Measures) -> dict[str, Any]:
    """Money in the portfolio's currency, shares and ratios as numbers, null for what is not defined."""
    fall = measures.drawdown
    return {
        "portfolio_id": result.portfolio_id,
        "start": result.days[0].isoformat(),
        "end": result.days[-1].isoformat(),
        "sessions": len(result.days),
        "bars": result.bars,
        "warmup_bars": result.warmup,
        "currency": result.currency,
        "initial_cash": to_float(result.initial_cash),
        "final_value": to_float(result.final_value),
        "cash": to_float(result.cash),
        "positions": result.positions,
        "return": measures.total_return,
        "annual_return": measures.annual_return,
        "volatility": measures.volatility,
        "max_drawdown": fall.depth,
        "drawdown_peak": fall.peak.isoformat() if fall.peak else None,
        "drawdown_trough": fall.trough.isoformat() if fall.trough else None,
        "drawdown_recovered": fall.recovered.isoformat() if fall.recovered else None,
        "sharpe": measures.sharpe,
        "sortino": measures.sortino,
        "turnover": measures.turnover,
        "win_rate": measures.win_rate,
        "profit_factor": measures.profit_factor,
        "trades": measures.trades,
        "orders": len(result.orders),
        "fills": measures.fills,
        "expired": result.expired,
        "rejected": len(result.refusals),
        "open_orders": result.open_orders,
        "fees": to_float(measures.fees),
        "sessions_per_year": SESSIONS_PER_YEAR,
        "elapsed_seconds": round(result.elapsed, 3),
        "bars_per_second": round(result.bars / result.elapsed) if result.elapsed else None,
    }


def lines(result: Result, measures: Measures) -> Iterator[tuple[str, str]]:
    """(what, how much) for people."""
    fall = measures.drawdown
    when = f"  ({fall.peak or 'start'} to {fall.trough})" if fall.trough else ""
    yield "Period", f"{result.days[0]} to {result.days[-1]}, {len(result.days):,} sessions"
    yield f"Value ({result.currency})", f"{money(result.initial_cash)} → {money(result.final_value)}"
    yield "Return", percent(measures.total_return, sign=True)
    yield "Annualised", percent(measures.annual_return, sign=True)
    yield "Max drawdown", f"{percent(-fall.depth)}{when}"
    yield "Volatility", percent(measures.volatility)
    yield "Sharpe", ratio(measures.sharpe)
    yield "Sortino", ratio(measures.sortino)
    yield "Turnover", f"{ratio(measures.turnover)} a year"
    yield "Trades", f"{measures.trades:,} round trips, {percent(measures.win_rate)} won"
    yield "Profit factor", ratio(measures.profit_factor)
    yield "Orders", _orders(result)
    yield "Fees", money(measures.fees)
    yield "Bars", _speed(result)


def money(units: int) -> str:
    return f"{to_float(units):,.2f}"


def percent(share: float | None, *, sign: bool = False) -> str:
    if share is None:
        return "-"
    return f"{share * 100:+.2f} %" if sign else f"{share * 100:.2f} %"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _orders(result: Result) -> str:
    parts = [f"{len(result.orders):,}, {len(result.fills):,} fills"]
    if result.expired:
        parts.append(f"{result.expired:,} expired")
    if result.refusals:
        parts.append(f"{len(result.refusals):,} rejected")
    if result.open_orders:
        parts.append(f"{result.open_orders:,} open")
    return ", ".join(parts)


def _speed(result: Result) -> str:
    """The rate only where there was enough to do: in a short run it is that of getting ready."""
    if result.elapsed < 1 or result.bars < 100_000:
        return f"{result.bars:,}"
    return f"{result.bars:,} in {result.elapsed:.1f} s ({result.bars / result.elapsed:,.0f} a second)"
