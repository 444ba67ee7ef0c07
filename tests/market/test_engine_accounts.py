"""What the engine knows of a portfolio beside its fills: its adjustments, its account's broker and limits (P11, M2)."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from market.brokers import book
from market.brokers.port import Holdings
from market.engine.intake import Intake, Outcome
from market.models import Fill, Order
from portfolios import accounts, services
from portfolios.kernel.money import to_units
from portfolios.models import Account, Assignment, Portfolio
from tests.market.desk_support import MORNING, NOW, make_intake, make_portfolio, submission
from tests.portfolios.test_configs import GOOD

pytestmark = [pytest.mark.django_db, pytest.mark.servers]


def owner() -> User:
    return User.objects.get_or_create(username="owner")[0]


def reasons(intake: Intake, *orders: Any) -> list[str]:
    taken = intake.take(orders, NOW)
    assert all(each.outcome in (Outcome.SENDING, Outcome.REJECTED) for each in taken)
    return [each.reason for each in taken]


def nobodys(**fields: Any) -> Portfolio:
    """One whose adjustments the services book themselves."""
    made = make_portfolio(**{"cash": 5000, **fields})
    Portfolio.objects.filter(pk=made.pk).update(config=GOOD, version=1)
    Assignment.objects.filter(portfolio=made).update(node_id="")
    return made


def test_a_deposit_counts_from_the_next_order_on_and_once() -> None:
    made, intake = nobodys(), make_intake()
    buy = {"order_type": "limit", "price": 60.0}
    assert reasons(intake, submission(made, **buy)) == ["insufficient_cash"]
    services.deposit(made.id, 2000, "more", owner())
    assert reasons(intake, submission(made, **buy)) == [""]
    assert reasons(intake, submission(made, **buy)) == ["insufficient_cash"]
    services.deposit(made.id, 6000, "and more", owner())
    assert reasons(intake, submission(made, **buy)) == [""]
    assert reasons(make_intake(), submission(made, **buy)) == ["insufficient_cash"]


def test_a_withdrawal_is_not_there_any_more() -> None:
    made, intake = nobodys(), make_intake()
    services.withdraw(made.id, 4500, "rent", owner())
    assert reasons(intake, submission(made, order_type="limit", price=10.0)) == ["insufficient_cash"]


def test_a_corrected_position_can_be_sold_at_once_and_one_taken_away_not() -> None:
    made, intake = nobodys(), make_intake()
    sell = {"direction": -1}
    assert reasons(intake, submission(made, **sell)) == ["insufficient_position"]
    services.correct_position(made.id, "600519.SH", 200, "a gift", 10, owner())
    assert reasons(intake, submission(made, **sell)) == [""]
    services.correct_position(made.id, "600519.SH", -200, "taken back", None, owner())
    assert reasons(intake, submission(made, **sell)) == ["insufficient_position"]


def test_an_account_at_another_broker_is_served_by_that_brokers_engine_only() -> None:
    live = accounts.create("real", owner(), broker="other", kind="live")
    made = make_portfolio(account=live)
    assert reasons(make_intake(), submission(made)) == ["other_broker"]


def test_portfolios_of_one_account_share_its_limits_in_one_batch_and_over_many() -> None:
    shared = accounts.create("shared", owner(), limits={"max_daily_turnover": 3000})
    one, other = make_portfolio(account=shared), make_portfolio(account=shared)
    intake, buy = make_intake(), {"order_type": "limit", "price": 10.0}
    assert reasons(intake, submission(one, **buy), submission(other, **buy)) == ["", ""]
    # Each stands for 1,005.01 with its fees: a third would make 3,010.02 and its own value.
    assert reasons(intake, submission(one, **buy)) == ["account_daily_turnover"]
    assert reasons(make_intake(), submission(other, **buy)) == ["account_daily_turnover"]
    Order.objects.update(state="filled")
    Fill.objects.create(
        fill_id="f", broker="simulation", order=Order.objects.filter(portfolio=one).first(), portfolio=one,
        code="600519.SH", direction=1, volume=100, price=10, amount=1000, commission=5, tax=0, event_time=MORNING,
    )  # fmt: skip
    assert reasons(intake, submission(other, **buy), submission(other, **buy)) == ["", "account_daily_turnover"]


def test_orders_of_all_of_an_accounts_portfolios_count_together() -> None:
    shared = accounts.create("shared", owner(), limits={"max_orders_per_minute": 2})
    one, other = make_portfolio(account=shared), make_portfolio(account=shared)
    intake = make_intake()
    assert reasons(intake, submission(one)) == [""]
    assert reasons(intake, submission(other), submission(other)) == ["", "account_order_rate"]
    accounts.change_limits(shared.id, {"max_orders_per_minute": None})
    assert reasons(intake, submission(one)) == [""]
    assert Account.objects.get(pk=shared.pk).max_orders_per_minute is None


def test_the_simulated_exchanges_account_holds_what_was_brought_to_it() -> None:
    made = nobodys()
    services.deposit(made.id, "12.5", "more", owner())
    services.correct_position(made.id, "600519.SH", 200, "a gift", 10, owner())
    assert book.holdings([made.id]) == Holdings(to_units("5012.5"), {"600519.SH": 200})
