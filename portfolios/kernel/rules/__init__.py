"""The rules of each market, as values that the kernel and the simulated exchange ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from portfolios.kernel.rules.base import Fees, MarketRules, Session
from portfolios.kernel.rules.cn import CnRules
from portfolios.kernel.rules.futures import FuturesRules
from portfolios.kernel.rules.hk import HkRules
from portfolios.kernel.rules.us import UsRules

__all__ = ["Fees", "MarketRules", "Session", "rules_for"]

_RULES = {"cn": CnRules, "hk": HkRules, "us": UsRules, "futures": FuturesRules}


def rules_for(market: str, trading_days: Sequence[date] = (), *, commission_rate: float = 0.0003) -> MarketRules:
    """The rules of a market (cn, hk, us, futures); ValueError for another.

    `trading_days` ascending; without any, every weekday is one. `commission_rate` is the broker's share of the
    amount of an order.
    """
    if market not in _RULES:
        raise ValueError(f"there are no rules for market {market!r}: use one of {', '.join(_RULES)}")
    rules: MarketRules = _RULES[market](trading_days, commission_rate=commission_rate)
    return rules
