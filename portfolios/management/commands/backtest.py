"""`ginkgo backtest`: a portfolio, or a configuration, over history; once, or for a grid of parameters."""

from __future__ import annotations

from django_typer.management import initialize

from portfolios.management.backtest.running import Running
from portfolios.management.backtest.sweeping import Sweeping


class Command(Running, Sweeping):
    help = "Backtests: a portfolio over history."

    @initialize()
    def init(self) -> None:
        """Backtests: a portfolio over history."""
