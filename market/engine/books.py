"""Reads portfolios' accounts from the engine's own rows; a fill is read once and then remembered.

Fills of a portfolio become visible in the order of their ids (they are written under its counter's lock), so what
is new since the last look is what has a higher id, whoever wrote it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, Subquery

from market.engine.account import Account, Commitments, Pending, cash_held
from market.engine.rulebook import Rulebook
from market.models import Fill, Order
from market.models.order import OrderState
from market.pretrade import Shared
from portfolios.kernel.money import to_units
from portfolios.kernel.rules import MarketRules
from portfolios.models import LedgerEntry, Portfolio

OPEN = (OrderState.NEW, OrderState.SENDING, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)

_MINUTE = timedelta(minutes=1)
_NEWEST_ADJUSTMENT = Subquery(
    LedgerEntry.objects.filter(portfolio_id=OuterRef("pk"), adjustment__isnull=False).order_by("-id").values("id")[:1]
)


@dataclass(frozen=True)
class Profile:
    """What the engine must know of a portfolio. `epoch` is the assignment's, as of this transaction, and `adjusted` the
    id of its newest ledger entry that is no fill; `limits` are its account's, None where that has none."""

    portfolio_id: str
    market: str
    initial_cash: int
    epoch: int
    st: frozenset[str] = frozenset()
    account_id: str = ""
    broker: str = ""
    limits: Shared | None = None
    adjusted: int = 0


@dataclass
class _Remembered:
    account: Account
    last_fill: int = 0
    last_adjustment: int = 0


@dataclass
class Books:
    """`rulebook` says which session a fill or an order belongs to."""

    rulebook: Rulebook
    _known: dict[str, _Remembered] = field(default_factory=dict)
    _recent: dict[str, deque[datetime]] = field(default_factory=dict)

    def profiles(self, portfolio_ids: Iterable[str]) -> dict[str, Profile]:
        """The portfolios among these ids that exist."""
        # Here and in all that every order asks: no order wanted, and none worked out.
        rows = (
            Portfolio.objects.filter(id__in=set(portfolio_ids))
            .order_by()
            .values_list(
                *("id", "market", "initial_cash", "assignment__epoch", "config", "account_id", "account__broker"),
                *("account__max_orders_per_minute", "account__max_order_value", "account__max_daily_turnover"),
                _NEWEST_ADJUSTMENT,
            )
        )
        return {
            id_: Profile(
                id_,
                market,
                to_units(cash),
                epoch or 0,
                _special(config),
                account,
                broker,
                _limits(*limits),
                newest or 0,
            )
            for id_, market, cash, epoch, config, account, broker, *limits, newest in rows
        }

    def siblings(self, account_id: str) -> dict[str, Profile]:
        """All portfolios of an account."""
        return self.profiles(Portfolio.objects.filter(account_id=account_id).order_by().values_list("id", flat=True))

    def account(self, profile: Profile) -> Account:
        """The sum of all fills and adjustments recorded so far; of one that is not locked, as of its last commit."""
        known = self._known.get(profile.portfolio_id)
        if known is None:
            known = _Remembered(Account(profile.initial_cash))
        rules = self.rulebook(profile.market)
        new = Fill.objects.filter(portfolio_id=profile.portfolio_id, id__gt=known.last_fill).order_by("id")
        for row in new.values_list("id", "code", "direction", "volume", "amount", "commission", "tax", "event_time"):
            id_, code, direction, volume, amount, commission, tax, at = row
            session = rules.session_at(at).ordinal if rules is not None else at.date().toordinal()
            fees = to_units(commission) + to_units(tax)
            known.account.book(code, direction, volume, to_units(amount), fees, session, *_contract(rules, code))
            known.last_fill = id_
        if profile.adjusted > known.last_adjustment:
            self._adjust(profile.portfolio_id, known, rules)
        self._known[profile.portfolio_id] = known
        return known.account

    @staticmethod
    def _adjust(portfolio_id: str, known: _Remembered, rules: MarketRules | None) -> None:
        new = LedgerEntry.objects.filter(
            portfolio_id=portfolio_id, adjustment__isnull=False, id__gt=known.last_adjustment
        ).order_by("id")
        columns = ("id", "cash_change", "code", "direction", "volume", "price")
        for id_, cash, code, direction, volume, price in new.values_list(*columns):
            contract = _contract(rules, code)
            known.account.adjust(to_units(cash), code, direction * volume, to_units(price), *contract)
            known.last_adjustment = id_

    def commitments(self, profiles: dict[str, Profile]) -> dict[str, Commitments]:
        """What the open orders of these portfolios may still do."""
        pending: dict[str, list[Pending]] = defaultdict(list)
        for order in Order.objects.filter(portfolio_id__in=list(profiles), state__in=OPEN).order_by():
            pending[order.portfolio_id].append(self.pending(order, profiles[order.portfolio_id]))
        return {each: Commitments(pending[each]) for each in profiles}

    def orders_in_last_minute(self, portfolio_id: str, now: datetime) -> int:
        """How many orders came from this portfolio, whatever became of them."""
        since = now - _MINUTE
        recent = self._recent.get(portfolio_id)
        if recent is None:
            rows = Order.objects.filter(portfolio_id=portfolio_id, received_at__gt=since).order_by("received_at")
            recent = self._recent[portfolio_id] = deque(rows.values_list("received_at", flat=True))
        while recent and recent[0] <= since:
            recent.popleft()
        return len(recent)

    @staticmethod
    def orders_of_others_in_last_minute(portfolio_ids: Iterable[str], now: datetime) -> int:
        """How many came from these, by any engine."""
        return Order.objects.filter(portfolio_id__in=list(portfolio_ids), received_at__gt=now - _MINUTE).count()

    def count_orders(self, portfolio_id: str, count: int, now: datetime) -> None:
        """So many more came at `now`."""
        self._recent[portfolio_id].extend([now] * count)

    def forget_recent(self, portfolio_ids: Iterable[str] | None = None) -> None:
        """Count the orders of the last minute anew (None: of all): another engine may have taken some in meanwhile."""
        for each in list(self._recent) if portfolio_ids is None else portfolio_ids:
            self._recent.pop(each, None)

    def pending(self, order: Order, profile: Profile) -> Pending:
        remaining = max(order.volume - order.filled_volume, 0)
        reserved = to_units(order.reserved) * remaining // order.volume if order.volume else 0
        rules = self.rulebook(profile.market)
        session = rules.order_session(order.event_time).ordinal if rules is not None else 0
        _, margin_rate = _contract(rules, order.code)
        held = self.account(profile).held(order.code) if margin_rate else 0
        cash = cash_held(order.direction, reserved, margin_rate, held)
        return Pending(order.code, order.direction, remaining, reserved, session, cash)


def _contract(rules: MarketRules | None, code: str) -> tuple[int, int]:
    """Its multiplier and margin rate."""
    return (1, 0) if rules is None or not code else (rules.multiplier(code), rules.margin_rate(code))


def _limits(rate: int | None, value: Decimal | None, turnover: Decimal | None) -> Shared | None:
    if rate is None and value is None and turnover is None:
        return None
    return Shared(rate, None if value is None else to_units(value), None if turnover is None else to_units(turnover))


def _special(config: Any) -> frozenset[str]:
    policy = config.get("policy") if isinstance(config, dict) else None
    codes = policy.get("st") if isinstance(policy, dict) else None
    return frozenset(str(each) for each in codes) if isinstance(codes, list) else frozenset()
