"""What a tick does to a resting order: never before its cause, within limits, by volume, once a session."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.events import Cause
from portfolios.kernel.exchange import Expired, Fill, Resting, advance, match, rest
from portfolios.kernel.money import CENT, to_units
from portfolios.kernel.orders import BUY, SELL, Order, order_id
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel.harness import CODE, PORTFOLIO_ID, TOPIC, close_of, day, tick

RULES = rules_for("cn")
MORNING = day(0) + timedelta(hours=2)


def resting(
    direction: int = BUY, volume: int = 1_000, price: float | None = None, cause: str = f"{TOPIC}:3:100:0", at=MORNING
) -> Resting:
    order = Order(
        order_id=order_id(PORTFOLIO_ID, cause, 0), portfolio_id=PORTFOLIO_ID, code=CODE, direction=direction,
        order_type="market" if price is None else "limit", volume=volume, price=price, cause=cause, timestamp=at,
    )  # fmt: skip
    return rest(order, RULES)


def show(
    order: Resting, price: float, *, offset: int = 101, partition: int = 3, seconds: float = 1, slippage=0.001, **fields
):
    event = tick(price, MORNING + timedelta(seconds=seconds), **fields)
    return match(order, event, Cause(TOPIC, partition, offset), RULES, slippage)


def test_a_market_buy_pays_the_slippage_rounded_up_to_the_tick():
    fill = show(resting(), 10.01)
    assert isinstance(fill, Fill)
    assert fill.price == to_units(10.03)
    assert fill.amount == fill.price * 1_000
    assert (fill.volume, fill.remaining) == (1_000, 0)


def test_a_market_sell_gets_less_by_the_slippage_rounded_down_to_the_tick():
    assert show(resting(SELL), 10.01).price == to_units(9.99)


@pytest.mark.parametrize(("partition", "offset", "seconds"), [(3, 100, 1), (3, 99, 5), (4, 500, 0), (4, 500, -1)])
def test_an_order_never_meets_its_cause_or_what_came_before_it(partition, offset, seconds):
    assert show(resting(), 10.0, partition=partition, offset=offset, seconds=seconds) is None


@pytest.mark.parametrize(("partition", "offset", "seconds"), [(3, 101, 0), (4, 5, 1)])
def test_an_order_meets_the_next_tick_of_its_log_or_a_later_one_of_another(partition, offset, seconds):
    assert isinstance(show(resting(), 10.0, partition=partition, offset=offset, seconds=seconds), Fill)


def test_a_fill_is_named_after_order_and_tick_so_a_replay_gives_the_same_one():
    first, again, other = show(resting(), 10.0), show(resting(), 10.0), show(resting(), 10.0, offset=102)
    assert first == again
    assert first.fill_id != other.fill_id


def test_after_a_tick_the_cursor_keeps_it_from_being_met_again():
    order = resting()
    event, at = tick(10.0, MORNING + timedelta(seconds=1), volume=300), Cause(TOPIC, 3, 101)
    fill = match(order, event, at, RULES)
    order = advance(order, at, fill)
    assert match(order, event, at, RULES) is None
    assert order.remaining == 700
    assert msgspec.json.decode(msgspec.json.encode(order), type=Resting) == order


def test_a_ticks_volume_caps_the_fill_and_none_means_no_cap():
    assert show(resting(), 10.0, volume=300).remaining == 700
    assert show(resting(), 10.0, volume=None).remaining == 0
    assert show(resting(), 10.0, volume=0) is None


def test_nothing_is_bought_at_limit_up_or_sold_at_limit_down():
    assert show(resting(BUY), 11.0, prev_close=10.0) is None
    assert isinstance(show(resting(SELL), 11.0, prev_close=10.0), Fill)
    assert show(resting(SELL), 9.0, prev_close=10.0) is None
    assert isinstance(show(resting(BUY), 9.0, prev_close=10.0), Fill)


def test_slippage_stops_at_the_price_limit():
    assert show(resting(BUY), 10.99, prev_close=10.0).price == to_units(11.0)
    assert show(resting(SELL), 9.01, prev_close=10.0, slippage=0.05).price == to_units(9.0)


@pytest.mark.parametrize("price", [0.0, -1.0, 11.01, 8.99, float("nan")])
def test_an_absurd_price_trades_nothing(price):
    assert show(resting(), price, prev_close=10.0) is None


def test_the_broker_may_know_the_previous_close_where_the_tick_does_not():
    event, at = tick(11.0, MORNING + timedelta(seconds=1)), Cause(TOPIC, 3, 101)
    assert match(resting(), event, at, RULES, prev_close=to_units(10.0)) is None
    assert isinstance(match(resting(), event, at, RULES), Fill)


def test_a_limit_order_trades_at_its_price_or_better():
    assert show(resting(BUY, price=10.0), 10.01) is None
    assert show(resting(BUY, price=10.0), 10.0).price == to_units(10.0)
    assert show(resting(BUY, price=10.0), 9.5).price == to_units(9.51)
    assert show(resting(SELL, price=10.0), 9.99) is None
    assert show(resting(SELL, price=10.0), 10.0).price == to_units(10.0)
    assert show(resting(SELL, price=10.0), 10.5).price == to_units(10.48)


def test_an_order_of_a_close_trades_at_the_next_days_close_and_ends_with_that_day():
    order = resting(at=close_of(0))
    assert order.session == date(2024, 1, 3)
    same_day = tick(10.0, close_of(0) + timedelta(seconds=5))
    assert match(order, same_day, Cause(TOPIC, 3, 101), RULES) is None
    assert isinstance(match(order, tick(10.0, close_of(1)), Cause(TOPIC, 3, 102), RULES), Fill)
    expired = match(order, tick(10.0, close_of(2)), Cause(TOPIC, 3, 102), RULES)
    assert isinstance(expired, Expired)
    assert expired.remaining == 1_000


def test_an_order_of_the_morning_trades_in_the_closing_price_but_not_the_next_day():
    assert isinstance(match(resting(), tick(10.0, close_of(0)), Cause(TOPIC, 3, 101), RULES), Fill)
    assert isinstance(match(resting(), tick(10.0, day(1) + timedelta(hours=2)), Cause(TOPIC, 3, 101), RULES), Expired)


def test_an_order_of_another_code_is_left_alone():
    assert show(resting(), 10.0, code="000001.SZ") is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(900, 1100)), min_size=1, max_size=12),
    st.sampled_from((BUY, SELL)),
    st.integers(1, 20).map(lambda lots: lots * 100),
)
def test_partial_fills_together_pay_the_fees_of_one_order(pieces, direction, volume):
    order = resting(direction, volume)
    fills = []
    for number, (traded, cents) in enumerate(pieces, 101):
        event = tick(cents / 100, MORNING + timedelta(seconds=number), volume=traded, prev_close=10.0)
        at = Cause(TOPIC, 3, number)
        fill = match(order, event, at, RULES)
        if isinstance(fill, Fill):
            fills.append(fill)
        order = advance(order, at, fill if isinstance(fill, Fill) else None)
        if order.remaining == 0:
            break
    assert sum(fill.volume for fill in fills) == order.filled <= volume
    if fills:
        whole = RULES.fees(CODE, direction, sum(fill.amount for fill in fills), order.filled, date(2024, 1, 2))
        assert sum(fill.commission for fill in fills) == whole.commission
        assert sum(fill.tax for fill in fills) == whole.tax
        assert all(fill.commission >= 0 and fill.tax >= 0 and fill.commission % CENT == 0 for fill in fills)
        assert all(to_units(9.0) <= fill.price <= to_units(11.0) for fill in fills)
