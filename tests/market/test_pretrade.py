"""What may trade: one reason for each way in which an order must not (SPEC M2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from market.engine.account import Account, Commitments, Pending
from market.pretrade import Limits, Quote, Shared, Surroundings, check, reservation
from portfolios.kernel.money import UNIT
from portfolios.kernel.orders import Order
from portfolios.kernel.rules import rules_for
from tests.market.desk_support import MORNING

RULES = rules_for("cn")
TODAY = RULES.session_at(MORNING).ordinal
CODE = "600519.SH"
LIMITS = Limits(max_orders_per_minute=10, max_order_value=100_000 * UNIT, max_daily_turnover=150_000 * UNIT)


def order(**changes) -> Order:
    fields = {
        "order_id": "o", "portfolio_id": "p", "code": CODE, "direction": 1, "order_type": "limit", "volume": 100,
        "price": 10.0, "cause": "t:0:1:0", "timestamp": MORNING,
    }  # fmt: skip
    return Order(**{**fields, **changes})


def around(cash: float = 1_000_000, held: dict[int, int] | None = None, **changes) -> Surroundings:
    """`held`: volume of CODE bought, by how many days ago."""
    account = Account(int(cash * UNIT))
    for days, volume in (held or {}).items():
        account.book(CODE, 1, volume, 0, 0, TODAY - days)
    base = Surroundings(
        on=True, market="cn", rules=RULES, account=account, commitments=Commitments(), limits=LIMITS,
        quote=Quote(10 * UNIT, MORNING, 10 * UNIT),
    )  # fmt: skip
    return replace(base, **changes)


def pending(direction=1, remaining=100, reserved=1000 * UNIT) -> Commitments:
    return Commitments([Pending(CODE, direction, remaining, reserved, TODAY, reserved if direction == 1 else 0)])


SELL = {"direction": -1}


@pytest.mark.parametrize(
    ("reason", "asked", "by"),
    [
        (None, {}, around()),
        (None, {"order_type": "market", "price": None}, around(cash=1005.01)),
        ("insufficient_cash", {"order_type": "market", "price": None}, around(cash=1005)),
        ("insufficient_cash", {}, around(cash=1005)),
        (None, {}, around(cash=1005.01)),
        ("insufficient_cash", {}, around(cash=2000, commitments=pending())),
        (None, {}, around(cash=2005.01, commitments=pending())),
        ("insufficient_position", SELL, around()),
        ("insufficient_position", SELL, around(held={1: 100}, commitments=pending(-1))),
        (None, SELL, around(held={1: 200}, commitments=pending(-1))),
        (None, SELL, around(held={1: 100}, commitments=pending(1))),
        ("t_plus_1", SELL, around(held={0: 100})),
        ("t_plus_1", {**SELL, "volume": 200}, around(held={1: 100, 0: 100})),
        (None, SELL, around(held={1: 100, 0: 100})),
        ("lot_size", {"volume": 150}, around()),
        ("lot_size", {**SELL, "volume": 50}, around(held={1: 100})),
        (None, {**SELL, "volume": 50}, around(held={1: 50})),
        (None, {**SELL, "volume": 150}, around(held={1: 150})),
        ("bad_volume", {"volume": 0}, around()),
        ("bad_price", {"price": None}, around()),
        ("bad_price", {"price": 0.0}, around()),
        ("bad_price", {"order_type": "market"}, around()),
        ("price_step", {"price": 10.005}, around()),
        (None, {"price": 11.0}, around()),
        ("price_limit", {"price": 11.01}, around()),
        ("price_limit", {"price": 8.99}, around()),
        ("price_limit", {"price": 10.6}, around(st=True)),
        (None, {"price": 11.01}, around(quote=None)),
        ("order_rate", {}, around(recent_orders=10)),
        (None, {}, around(recent_orders=9)),
        ("order_value", {"volume": 10_100}, around()),
        ("daily_turnover", {"volume": 9_000}, around(commitments=pending(-1, 100, 70_000 * UNIT))),
        ("engine_stopped", {}, around(on=False)),
        ("bad_code", {"code": "00700.HK"}, around()),
        ("bad_code", {"code": "rubbish"}, around()),
        ("market_not_supported", {}, around(rules=None)),
        ("too_old", {}, around(limits=replace(LIMITS, max_order_age=5), moment=MORNING + timedelta(seconds=6))),
        (None, {}, around(limits=replace(LIMITS, max_order_age=5), moment=MORNING + timedelta(seconds=4))),
        ("session_over", {}, around(moment=MORNING + timedelta(days=1))),
        (None, {}, around(moment=MORNING + timedelta(days=1), follows_the_log=True)),
    ],
)
def test_the_reason_for(reason, asked, by):
    assert check(order(**asked), by) == reason


def test_the_days_turnover_counts_what_was_filled():
    surroundings = around()
    surroundings.account.book("000001.SZ", -1, 100, 149_500 * UNIT, 0, TODAY)
    assert check(order(), surroundings) == "daily_turnover"
    surroundings = around()
    surroundings.account.book("000001.SZ", -1, 100, 149_500 * UNIT, 0, TODAY - 1)
    assert check(order(), surroundings) is None


def test_an_order_caused_at_the_close_may_sell_what_was_bought_that_day():
    close = MORNING.replace(hour=7)
    assert check(order(direction=-1, timestamp=close), around(held={0: 100})) is None


def test_the_price_of_a_later_session_does_not_judge_an_order_that_comes_late():
    much_later = Quote(50 * UNIT, MORNING + timedelta(days=9), 50 * UNIT)
    market = order(order_type="market", price=None)
    assert check(market, around(cash=1010, quote=much_later)) is None
    assert reservation(market, much_later, RULES) == 0


def test_a_buy_reserves_its_value_and_its_fees_and_a_sell_its_value():
    assert reservation(order(), None, RULES) == 10_050_100
    assert reservation(order(direction=-1), None, RULES) == 10_000_000


@given(
    fills=some.lists(
        some.tuples(some.sampled_from([1, -1]), some.integers(1, 500), some.integers(1, 10**6), some.integers(0, 9)),
        max_size=40,
    )
)
def test_an_account_is_the_sum_of_its_fills(fills):
    account = Account(10**9)
    for direction, volume, amount, day in fills:
        account.book(CODE, direction, volume, amount, 7, day)
    assert account.cash == 10**9 - sum(direction * amount + 7 for direction, _, amount, _ in fills)
    assert account.held(CODE) == sum(direction * volume for direction, volume, _, _ in fills)


def test_an_order_for_another_broker_than_its_accounts_does_not_trade() -> None:
    assert check(order(), around(at_its_broker=False)) == "other_broker"


@pytest.mark.parametrize(
    ("reason", "shared"),
    [
        (None, Shared()),
        (None, Shared(max_orders_per_minute=3, recent_orders=2)),
        ("account_order_rate", Shared(max_orders_per_minute=3, recent_orders=3)),
        (None, Shared(max_order_value=1000 * UNIT)),
        ("account_order_value", Shared(max_order_value=999 * UNIT)),
        (None, Shared(max_daily_turnover=3000 * UNIT, turnover=2000 * UNIT)),
        ("account_daily_turnover", Shared(max_daily_turnover=2999 * UNIT, turnover=2000 * UNIT)),
    ],
)
def test_an_accounts_limits_hold_for_all_of_its_portfolios_together(reason: str | None, shared: Shared) -> None:
    assert check(order(), around(shared=shared)) == reason
