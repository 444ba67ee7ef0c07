"""Accounts: one for each owner and market unless another is chosen; real money only when it is meant (SPEC P11)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from portfolios import accounts, services
from portfolios.errors import Conflict, InvalidConfig, NotFound, Unconfirmed
from portfolios.models import Account, Portfolio
from tests.portfolios.test_configs import GOOD

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return User.objects.create_superuser("owner", password=None)


def made(owner: User, name: str = "First", **more: Any) -> Portfolio:
    return services.create(name, owner, "cn", 1000, GOOD, **more)


def test_without_a_choice_it_is_the_owners_paper_account_of_the_market(owner: User) -> None:
    one, two = made(owner), made(owner, "Second")
    assert one.account == two.account
    assert (one.account.name, one.account.kind, one.account.broker) == ("paper-cn", "paper", "simulation")
    assert (one.account.owner, one.account.currency) == (owner, "CNY")
    other = services.create("His", User.objects.create_user("other"), "cn", 1000, GOOD)
    assert other.account != one.account


def test_several_portfolios_share_an_account_and_it_is_shown(owner: User) -> None:
    account = accounts.create("desk", owner)
    for name in ("A", "B"):
        assert made(owner, name, account="desk").account == account
    (found,) = (each for each in accounts.list_accounts() if each["name"] == "desk")
    assert (found["portfolios"], found["owner"], found["kind"]) == (2, "owner", "paper")
    status = services.get_status(Portfolio.objects.get(name="A").id)
    assert (status["account"], status["account_kind"], status["broker"], status["currency"]) == (
        "desk", "paper", "simulation", "CNY",
    )  # fmt: skip


def test_real_money_must_be_meant_when_it_is_made_and_when_it_starts(owner: User) -> None:
    live = accounts.create("real", owner, kind="live", broker="acme")
    with pytest.raises(Unconfirmed, match=r"'real' is live.*acme.*--yes"):
        made(owner, account=live)
    assert not Portfolio.objects.exists()
    portfolio = made(owner, account=live, confirmed=True)
    with pytest.raises(Unconfirmed):
        services.start(portfolio.id)
    assert services.get(portfolio.id).desired_state == "stopped"
    assert services.start(portfolio.id, confirmed=True).desired_state == "running"
    assert services.stop(portfolio.id).desired_state == "stopped"


def test_an_account_of_another_currency_is_a_fault(owner: User) -> None:
    accounts.create("dollars", owner, currency="USD")
    with pytest.raises(InvalidConfig, match="account: 'dollars' is in USD, market cn trades in CNY"):
        made(owner, account="dollars")


def test_only_staff_trade_in_what_is_anothers(owner: User) -> None:
    clerk = User.objects.create_user("clerk")
    desk = accounts.create("desk", owner)
    for given in ("desk", desk.id, desk):
        with pytest.raises(NotFound):
            services.create("Mine", clerk, "cn", 1000, GOOD, account=given)
    assert services.create("For the clerk", clerk, "cn", 1000, GOOD, account="desk", author=owner).account == desk


def test_every_fault_of_an_account_is_told(owner: User) -> None:
    with pytest.raises(InvalidConfig) as raised:
        accounts.create(
            "", owner, broker="no such name!", kind="play", currency="XYZ",
            limits={"max_orders_per_minute": 0, "max_order_value": "-1", "speed": 1},
        )  # fmt: skip
    assert [fault.path for fault in raised.value.faults] == [
        "name", "broker", "kind", "currency", "max_orders_per_minute", "max_order_value", "speed",
    ]  # fmt: skip
    assert not Account.objects.exists()


def test_an_owner_gives_a_name_once(owner: User) -> None:
    accounts.create("desk", owner)
    with pytest.raises(Conflict, match="owner has an account 'desk' already"):
        accounts.create("desk", owner)
    accounts.create("desk", User.objects.create_user("other"))
    with pytest.raises(Conflict, match="several accounts"):
        accounts.find("desk")
    assert accounts.find("desk", owner).owner == owner


def test_it_is_found_by_id_and_by_its_beginning(owner: User) -> None:
    account = accounts.create("desk", owner)
    assert accounts.find(account.id) == accounts.find(account.id[:8]) == account
    with pytest.raises(NotFound, match="ginkgo account list"):
        accounts.find("nope")


def test_limits_are_set_and_taken_away_one_by_one(owner: User) -> None:
    account = accounts.create("desk", owner, limits={"max_order_value": "5000.5"})
    changed = accounts.change_limits(account.id, {"max_orders_per_minute": 3})
    assert (changed.max_order_value, changed.max_orders_per_minute) == (Decimal("5000.5"), 3)
    assert accounts.change_limits(account.id, {"max_order_value": None}).max_order_value is None
    with pytest.raises(NotFound):
        accounts.change_limits("nope", {"max_order_value": 1})
