"""Why a backtest cannot be run: one exception, whose message is one line that says what to do."""

from __future__ import annotations

from portfolios.errors import PortfolioError


class BacktestError(PortfolioError):
    """Data, dates or a component make the run impossible; nothing was written."""
