"""The rules of each market, as values that the kernel and the simulated exchange ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from portfolios.kernel.rules.base import Fees, MarketRules, Session
from portfolios.kernel.rules.cn import CnRules

__all__ = ["Fees", "MarketRules", "Session", "rules_for"]


def rules_for(market: str, trading_days: Sequence[date] = (), *, commission_rate: float = 0.0003) -> MarketRules:
    """The rules of `market` (cn). Without `trading_days` every weekday is one. ValueError for another market."""
    if market == "cn":
        return CnRules(trading_days, commission_rate=commission_rate)
    raise ValueError(f"there are no rules for market {market!r}: use one of cn")
