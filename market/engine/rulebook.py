"""The rules of each market as engine and exchange apply them: made once, with the broker's commission."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portfolios.calendars import CalendarError, trading_days
from portfolios.kernel.money import UNIT
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules import COMMISSION_RATES, MarketRules, commission_rate_of, rules_for

log = logging.getLogger(__name__)

_ANY = {"cn": "600000.SH", "hk": "00700.HK", "us": "AAPL.US", "futures": "IF2612.CFX"}


class Rulebook:
    """Rules by market; None for a market that has none here. The first look at a market may take seconds."""

    def __init__(self, home: Path, commission_rate: Any = None) -> None:
        """`commission_rate` as the broker's configuration gives it: a share of the amount, or one by market; None, or a
        market that is not named: the market's own. ValueError for what is no share."""
        self._home = home
        self._commissions = {market: commission_rate_of(commission_rate, market) for market in COMMISSION_RATES}
        self._rules: dict[str, MarketRules | None] = {}
        self._lock = threading.Lock()

    def __call__(self, market: str) -> MarketRules | None:
        if market not in self._rules:
            with self._lock:
                if market not in self._rules:
                    self._rules[market] = self._make(market)
        return self._rules[market]

    def _make(self, market: str) -> MarketRules | None:
        try:
            days = trading_days(market, self._home)
        except KeyError:
            return None
        except CalendarError as error:
            log.warning("Market %s: every weekday counts as a trading day, for %s", market, error)
            days = ()
        try:
            rules = rules_for(market, days, commission_rate=self._commissions.get(market))
        except ValueError:
            return None
        _look_up(rules)
        return rules


def _look_up(rules: MarketRules) -> None:
    """The dated records are parsed when first asked for: now, not while an order waits."""
    today = datetime.now(UTC).date()
    rules.limits(_ANY[rules.market], UNIT, today)
    rules.fees(_ANY[rules.market], SELL, UNIT, 1, today)
