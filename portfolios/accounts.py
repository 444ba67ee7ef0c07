"""The accounts that portfolios trade in, paper and live (SPEC P11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count

from portfolios import configs
from portfolios.errors import Conflict, InvalidConfig, NotFound
from portfolios.kernel.config import Fault
from portfolios.lookup import user_of
from portfolios.models import Account
from portfolios.models.account import CURRENCIES, SIMULATION, Kind

BROKER = re.compile(r"\A[a-z0-9][a-z0-9_.-]{0,39}\Z")
"""What a broker may be called."""
LIMITS = ("max_orders_per_minute", "max_order_value", "max_daily_turnover")


def create(
    name: str,
    owner: User | str | None = None,
    *,
    broker: str = SIMULATION,
    kind: str = Kind.PAPER,
    currency: str = "CNY",
    limits: Mapping[str, Any] | None = None,
) -> Account:
    """A new account of `owner` (a user, a name, or None for the first administrator).

    `limits`: of `LIMITS`, for all of its portfolios together. Raises InvalidConfig with every fault, NotFound, Conflict
    for a name that the owner has given before.
    """
    faults = []
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 100:
        faults.append(Fault("name", "must have 1 to 100 characters"))
    if not isinstance(broker, str) or not BROKER.match(broker):
        faults.append(Fault("broker", f"must be a name as under brokers in the configuration, got {broker!r}"))
    if kind not in Kind.values:
        faults.append(Fault("kind", f"must be paper or live, got {kind!r}"))
    if currency not in CURRENCIES.values():
        faults.append(
            Fault("currency", f"must be one of {', '.join(dict.fromkeys(CURRENCIES.values()))}, got {currency!r}")
        )
    values = _limits(limits or {}, faults)
    if faults:
        raise InvalidConfig(faults)
    user = user_of(owner)
    with transaction.atomic():
        # Its owner's row is the lock: two of one name at once are one, and one Conflict.
        User.objects.select_for_update().get(pk=user.pk)
        if Account.objects.filter(owner=user, name=name.strip()).exists():
            raise Conflict(f"{user.get_username()} has an account {name.strip()!r} already")
        return Account.objects.create(
            name=name.strip(), owner=user, broker=broker, kind=kind, currency=currency, **values
        )


def change_limits(account_id: str, limits: Mapping[str, Any]) -> Account:
    """Set some of `LIMITS` (None: no limit). The engine holds to them from its next order on.

    Raises NotFound, InvalidConfig.
    """
    faults: list[Fault] = []
    values = _limits(limits, faults)
    if faults:
        raise InvalidConfig(faults)
    changed = Account.objects.filter(id=account_id).update(**values) if values else 1
    found = Account.objects.filter(id=account_id).first()
    if not changed or found is None:
        raise _not_found(account_id)
    return found


def find(text: str, owner: User | None = None, only: User | None = None) -> Account:
    """By id, by the beginning of an id, or by name; of several of one name, `owner`'s. `only`: among this user's.

    Raises NotFound or Conflict.
    """
    rows = Account.objects.all() if only is None else Account.objects.filter(owner=only)
    exact = rows.filter(id=text).first()
    if exact is not None:
        return exact
    fits = list(rows.filter(name=text)[:20])
    if len(fits) > 1 and owner is not None:
        fits = [each for each in fits if each.owner_id == owner.pk] or fits
    if not fits and len(text) >= 4:
        fits = list(rows.filter(id__startswith=text.lower())[:2])
    if not fits:
        raise _not_found(text)
    if len(fits) > 1:
        raise Conflict(f"several accounts answer to {text!r}: give the whole id")
    return fits[0]


def chosen_for(owner: User, market: str, given: Account | str | None, author: User) -> Account:
    """The account of `owner`'s new portfolio: the one given, or `owner`'s paper account of the market.

    `author` chooses among accounts of their own; staff among all. Raises NotFound, Conflict, and InvalidConfig where
    its currency is not the market's.
    """
    if given is None:
        return Account.paper(owner, market)
    only = None if author.is_staff or author.is_superuser else author
    account = find(given.id if isinstance(given, Account) else given, owner, only)
    if market in CURRENCIES and account.currency != CURRENCIES[market]:
        wrong = f"{account.name!r} is in {account.currency}, market {market} trades in {CURRENCIES[market]}"
        raise InvalidConfig([Fault("account", wrong)])
    return account


def list_accounts(owner: User | None = None) -> list[dict[str, Any]]:
    """`facts` of all accounts (of `owner`), by name."""
    rows = Account.objects.select_related("owner").annotate(holds=Count("portfolios"))
    if owner is not None:
        rows = rows.filter(owner=owner)
    return [{**facts(account), "portfolios": account.holds} for account in rows]


def facts(account: Account) -> dict[str, Any]:
    """id, name, owner, broker, kind, currency and the limits; money is Decimal."""
    return {
        "id": account.id,
        "name": account.name,
        "owner": account.owner.get_username(),
        "broker": account.broker,
        "kind": account.kind,
        "currency": account.currency,
        **{limit: getattr(account, limit) for limit in LIMITS},
        "created_at": account.created_at,
    }


def _limits(given: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in LIMITS:
            faults.append(Fault(key, f"is unknown here: allowed is {', '.join(LIMITS)}"))
        elif value is None:
            values[key] = None
        elif key == "max_orders_per_minute":
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
                values[key] = value
            else:
                faults.append(Fault(key, f"must be a whole number above 0, got {value!r}"))
        else:
            values[key] = _money(key, value, faults)
    return values


def _money(path: str, value: Any, faults: list[Fault]) -> Decimal | None:
    amount, found = configs.cash_of(value)
    faults.extend(fault._replace(path=path) for fault in found)
    return amount


def _not_found(text: str) -> NotFound:
    return NotFound(f"there is no account {text!r}: see 'ginkgo account list'")
