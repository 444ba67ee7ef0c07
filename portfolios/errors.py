"""What the services can refuse: one small tree of exceptions whose messages say what to do."""

from __future__ import annotations

from collections.abc import Sequence

from portfolios.kernel.config import Fault


class PortfolioError(Exception):
    """The wish cannot be met; nothing was changed."""


class NotFound(PortfolioError):
    """There is no such portfolio, account, revision or user."""


class Conflict(PortfolioError):
    """It has changed meanwhile, is in the wrong state, or the name fits several."""


class Refused(PortfolioError):
    """The books do not allow it: more is withdrawn than is free, more taken away than is held."""


class Unconfirmed(PortfolioError):
    """It trades real money, and whoever asks has not confirmed that this is meant."""


class InvalidConfig(PortfolioError):
    """Every fault of what was given, each with its path (`strategy.params.short_period`)."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))
