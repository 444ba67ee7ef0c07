"""`ginkgo portfolio`: create portfolios, look at them, start and stop them, change their configuration and books."""

from __future__ import annotations

from django_typer.management import initialize

from portfolios.management.portfolio.configuring import Configuring
from portfolios.management.portfolio.looking import Looking
from portfolios.management.portfolio.money import Money
from portfolios.management.portfolio.running import Running
from portfolios.management.portfolio.transferring import Transferring


class Command(Looking, Running, Configuring, Money, Transferring):
    help = "Portfolios: create, look at, start, stop, configure, fund, export."

    @initialize()
    def init(self) -> None:
        """Portfolios: create, look at, start, stop, configure, fund, export."""
