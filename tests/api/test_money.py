"""Deposits, withdrawals and corrections over HTTP: booked once, told as the ledger has them, refused as one error."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from portfolios import services
from portfolios.models import Adjustment, AuditEntry, LedgerEntry, Portfolio
from tests.api import callers
from tests.api.callers import Caller
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]


@pytest.fixture
def owner() -> User:
    return callers.user("owner", "trader")


@pytest.fixture
def api(owner: User) -> Caller:
    return callers.by_token(owner)


@pytest.fixture
def mine(owner: User) -> Portfolio:
    """One that nobody runs: what is asked is booked at once."""
    return books.portfolio("Mine", owner, ran=False)


def cash(portfolio: Portfolio) -> Decimal:
    found: Decimal = services.get_status(portfolio.pk)["cash"]
    return found


def test_cash_goes_in_and_comes_out(api: Caller, mine: Portfolio) -> None:
    answer = api.post(f"/api/portfolio/{mine.pk}/deposit", {"amount": 10000, "reason": "a bonus"})
    assert answer.status_code == 201
    found = answer.json()
    assert (found["kind"], found["state"], found["amount"], found["author"]) == ("deposit", "applied", 10000, "owner")
    answer = api.post(f"/api/portfolio/{mine.pk}/withdraw", {"amount": "2500.5", "reason": "rent"})
    assert (answer.status_code, answer.json()["amount"]) == (201, -2500.5)
    api.post(f"/api/portfolio/{mine.pk}/correct", {"cash": -0.35, "reason": "a fee of the bank's"})
    assert cash(mine) == Decimal("1007499.15")
    assert LedgerEntry.objects.filter(portfolio=mine).count() == 3
    entry = AuditEntry.objects.get(action="portfolio.withdraw")
    assert (entry.who, entry.target) == ("owner", mine.pk)
    assert entry.changes == {"amount": [None, "-2500.5000"], "reason": [None, "rent"]}


def test_a_position_is_corrected(api: Caller, mine: Portfolio) -> None:
    body = {"code": "600519.SH", "volume": 100, "price": 1500.5, "reason": "a transfer in kind"}
    answer = api.post(f"/api/portfolio/{mine.pk}/correct", body)
    assert (answer.status_code, answer.json()["price"]) == (201, 1500.5)
    (held,) = services.get_positions(mine.pk)
    assert (held["code"], held["volume"], held["cost_price"]) == ("600519.SH", 100, Decimal("1500.5"))


def test_the_same_key_moves_money_once(api: Caller, mine: Portfolio) -> None:
    body = {"amount": 10, "reason": "a bonus"}
    first = api.post(f"/api/portfolio/{mine.pk}/deposit", body, Idempotency_Key="one")
    again = api.post(f"/api/portfolio/{mine.pk}/deposit", body, Idempotency_Key="one")
    assert (again.status_code, again.json()) == (201, first.json())
    assert cash(mine) == 1_000_010
    other = api.post(f"/api/portfolio/{mine.pk}/deposit", {**body, "amount": 20}, Idempotency_Key="one")
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert cash(mine) == 1_000_010


def test_of_one_that_runs_it_waits_for_the_node(api: Caller, owner: User) -> None:
    running = books.portfolio("Runs", owner)
    answer = api.post(f"/api/portfolio/{running.pk}/deposit", {"amount": 10, "reason": "a bonus"})
    assert (answer.status_code, answer.json()["state"]) == (201, "pending")
    listed = api.get(f"/api/portfolio/{running.pk}/adjustments?state=pending").json()
    assert listed["results"] == [answer.json()]
    assert api.get(f"/api/portfolio/{running.pk}/adjustments?kind=withdrawal").json()["count"] == 0


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("withdraw", {"amount": 1_000_001, "reason": "all of it"}, 409),
        ("withdraw", {"amount": -5, "reason": "less"}, 400),
        ("deposit", {"amount": 0, "reason": "nothing"}, 400),
        ("deposit", {"amount": 0.00001, "reason": "too fine"}, 400),
        ("deposit", {"amount": 5}, 400),
        ("deposit", {"amount": 5, "reason": " "}, 400),
        ("deposit", {"amount": 5, "reason": "x", "when": "now"}, 400),
        ("correct", {"reason": "of nothing"}, 400),
        ("correct", {"cash": 0, "reason": "of nothing"}, 400),
        ("correct", {"cash": 1, "code": "600519.SH", "volume": 1, "reason": "of both"}, 400),
        ("correct", {"cash": 1, "price": 5, "reason": "of cash with a price"}, 400),
        ("correct", {"code": "600519.SH", "reason": "of how much"}, 400),
        ("correct", {"code": "600519.SH", "volume": 0, "reason": "of nothing"}, 400),
        ("correct", {"code": "AAPL.US", "volume": 1, "price": 5, "reason": "of another market"}, 400),
        ("correct", {"code": "600519.SH", "volume": -1, "reason": "of what is not held"}, 409),
    ],
)
def test_what_the_books_do_not_allow_is_refused_and_leaves_nothing(
    api: Caller, mine: Portfolio, route: str, body: dict[str, Any], status: int
) -> None:
    answer = api.post(f"/api/portfolio/{mine.pk}/{route}", body)
    assert answer.status_code == status, answer.json()
    assert answer.json()["code"] == ("CONFLICT" if status == 409 else "INVALID_PARAMETER")
    assert cash(mine) == 1_000_000
    assert not Adjustment.objects.exists() and not AuditEntry.objects.exists()
