"""The rules of each market, as values that the kernel and the simulated exchange ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from portfolios.kernel.rules import cn, futures, hk, us
from portfolios.kernel.rules.base import Fees, MarketRules, Session
from portfolios.kernel.rules.cn import CnRules
from portfolios.kernel.rules.futures import FuturesRules
from portfolios.kernel.rules.hk import HkRules
from portfolios.kernel.rules.us import UsRules

__all__ = ["COMMISSION_RATES", "Fees", "MarketRules", "Session", "commission_rate_of", "rules_for"]

_RULES = {"cn": CnRules, "hk": HkRules, "us": UsRules, "futures": FuturesRules}
COMMISSION_RATES = {
    "cn": cn.COMMISSION,
    "hk": hk.COMMISSION,
    "us": us.COMMISSION,
    "futures": futures.COMMISSION,
}
"""What the broker takes where nobody says otherwise, as a share of the amount; why so much is said in each module."""


def rules_for(market: str, trading_days: Sequence[date] = (), *, commission_rate: float | None = None) -> MarketRules:
    """The rules of a market (cn, hk, us, futures); ValueError for another.

    `trading_days` ascending; without any, every weekday is one. `commission_rate` is the broker's share of the
    amount of an order; None: the market's own (`COMMISSION_RATES`).
    """
    if market not in _RULES:
        raise ValueError(f"there are no rules for market {market!r}: use one of {', '.join(_RULES)}")
    rate = COMMISSION_RATES[market] if commission_rate is None else commission_rate
    rules: MarketRules = _RULES[market](trading_days, commission_rate=rate)
    return rules


def commission_rate_of(given: Any, market: str) -> float | None:
    """A market's rate in what a configuration gives: one number for all markets, or a number by market, or nothing.

    ValueError for anything else, and for a share that is not between 0 and 1.
    """
    rate = given.get(market) if isinstance(given, Mapping) else given
    if isinstance(given, Mapping) and (unknown := set(given) - set(_RULES)):
        raise ValueError(f"commission_rate: there is no market {sorted(unknown)[0]!r}: use {', '.join(_RULES)}")
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"commission_rate: must be at least 0 and less than 1, or that by market, got {rate!r}")
    return float(rate)
