"""Each risk rule in a portfolio: what it vetoes, shrinks and sells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.component import NEVER
from portfolios.kernel.config import ConfigErrors
from portfolios.kernel.ledger import Position
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.registry import find
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel import scripted
from tests.portfolios.kernel.harness import CODE, Market, close_of, config, day, tick

OTHER = "000001.SZ"


def market(*script: int, risks: dict[str, dict[str, Any]], amount: float = 100_000, **options: Any) -> Market:
    return Market(
        config(scripted.PATH, {"script": list(script)}, risks=risks, sizer_params={"amount": amount}, **options)
    )


def reasons(market: Market, kind: str) -> list[str]:
    return [f"{each.source}: {each.reason}" for each in market.portfolio.take_decisions() if each.kind == kind]


def test_a_position_is_shrunk_to_its_share_of_the_value():
    shrunk = market(1, risks={"PositionRatioRisk": {"max_position_ratio": 0.05}})
    shrunk.closes([10.0])
    assert shrunk.orders[0].volume == 5_000
    assert reasons(shrunk, "shrink") == ["PositionRatioRisk: a position may be 0.05 of the value"]


def test_a_position_at_its_share_gets_no_more():
    full = market(1, 0, 1, risks={"PositionRatioRisk": {"max_position_ratio": 0.1}}, policy={"pyramiding": True})
    full.closes([10.0, 10.0, 10.0])
    assert [order.volume for order in full.orders] == [10_000]
    assert reasons(full, "veto") == ["PositionRatioRisk: a position may be 0.1 of the value"]


def test_all_positions_together_keep_to_their_share_open_orders_included():
    rules = {"PositionRatioRisk": {"max_position_ratio": 1.0, "max_total_position_ratio": 0.15}}
    both = market(1, risks=rules, codes=[CODE, OTHER])
    both.show(tick(10.0, close_of(0), CODE))
    both.show(tick(10.0, close_of(0), OTHER))
    # The first order may cost up to limit-up and fees; what is left of 150,000 buys 3,900.
    assert [order.volume for order in both.orders] == [10_000, 3_900]
    assert reasons(both, "shrink") == ["PositionRatioRisk: all positions together may be 0.15 of the value"]


def test_a_loss_beyond_the_limit_is_sold_and_one_within_it_is_kept():
    held = market(1, risks={"LossLimitRisk": {"loss_limit": 10}})
    held.closes([10.0, 10.0, 9.02])
    assert [order.direction for order in held.orders] == [BUY]
    held.closes([8.99], start=3)
    assert [order.direction for order in held.orders] == [BUY, SELL]
    assert reasons(held, "exit") == ["LossLimitRisk: lost 10 % of its cost"]


def test_a_profit_at_its_target_is_taken():
    held = market(1, risks={"ProfitTargetRisk": {"profit_target": 5}})
    held.closes([10.0, 10.0, 10.5])
    assert [order.direction for order in held.orders] == [BUY]
    held.closes([10.51], start=3)
    assert [order.direction for order in held.orders] == [BUY, SELL]
    assert reasons(held, "exit") == ["ProfitTargetRisk: earned 5 % of its cost"]


def drawn_down(pause: int) -> Market:
    """Holds two codes, then one falls by a tenth: 3.7 % of all."""
    rules = {"MaxDrawdownRisk": {"max_drawdown": 3, "pause": pause}}
    held = market(1, 0, 0, 0, *[1] * 40, risks=rules, amount=400_000, codes=[CODE, OTHER])
    for number, price in enumerate([10.0, 10.0, 11.0]):
        for code in (CODE, OTHER):
            held.show(tick(price, close_of(number), code))
    assert len(held.portfolio.positions) == 2
    held.portfolio.take_decisions()
    held.show(tick(10.0, close_of(3), CODE))
    return held


def test_a_drawdown_of_the_whole_portfolio_closes_every_position():
    held = drawn_down(pause=5)
    assert {(order.code, order.direction) for order in held.orders[2:]} == {(CODE, SELL), (OTHER, SELL)}
    assert set(reasons(held, "exit")) == {"MaxDrawdownRisk: the portfolio lost 3 % from its peak"}


@pytest.mark.parametrize(("pause", "buys_again"), [(5, True), (0, False)])
def test_after_a_drawdown_nothing_is_bought_until_the_pause_is_over(pause, buys_again):
    held = drawn_down(pause)
    held.portfolio.take_decisions()
    for number in range(4, 12):
        for code in (CODE, OTHER):
            held.show(tick(10.0, close_of(number), code))
    until = "for 5 days" if pause else "until its parameters change"
    assert f"MaxDrawdownRisk: no new positions {until} after a drawdown of 3 %" in reasons(held, "veto")
    bought = [order for order in held.orders[4:] if order.direction == BUY]
    assert bool(bought) is buys_again
    if buys_again:
        assert (bought[0].timestamp - close_of(3)).days >= 5
        # The peak has begun anew: what is bought now is not sold again at once.
        assert all(order.direction == BUY for order in held.orders if order.timestamp >= bought[0].timestamp)


@pytest.mark.parametrize(
    ("windows", "at", "passes"),
    [
        ([], timedelta(hours=1, minutes=29), False),
        ([], timedelta(hours=1, minutes=30), True),
        ([], timedelta(hours=4), False),
        ([], timedelta(hours=7), True),
        (["10:00-10:05"], timedelta(hours=2, minutes=5), True),
        (["10:00-10:05"], timedelta(hours=2, minutes=5, seconds=1), False),
    ],
)
def test_signals_pass_within_the_hours_of_the_market_or_ones_own(windows, at, passes):
    timed = market(1, risks={"TradingTimeRisk": {"windows": windows}})
    timed.show(tick(10.0, day(0) + at))
    assert bool(timed.orders) is passes
    assert bool(reasons(timed, "veto")) is not passes


def test_sales_may_be_let_through_at_any_time():
    for buys_only in (True, False):
        timed = market(1, 0, -1, risks={"TradingTimeRisk": {"buys_only": buys_only}})
        timed.closes([10.0, 10.0])
        timed.show(tick(10.0, day(2) + timedelta(hours=1)))
        assert [order.direction for order in timed.orders] == ([BUY, SELL] if buys_only else [BUY])


@pytest.mark.parametrize("window", ["10", "10:00", "x-y", "11:00-10:00", "25:00-26:00"])
def test_ill_formed_hours_are_a_fault_with_their_place(window):
    with pytest.raises(ConfigErrors) as caught:
        config(risks={"TradingTimeRisk": {"windows": ["09:30-10:00", window]}})
    assert [fault.path for fault in caught.value.faults] == ["risk_managements[0].params.windows[1]"]


def test_rules_judge_short_positions_by_their_own_loss():
    code = "IF2612.CFX"
    short = Market(
        config(scripted.PATH, {"script": [-1]}, codes=[code], sizer_params={"amount": 3_000_000},
               risks={"LossLimitRisk": {"loss_limit": 2}, "ProfitTargetRisk": {"profit_target": 2}}),
        cash=5_000_000, rules=rules_for("futures", commission_rate=0.0),
    )  # fmt: skip
    short.closes([4000.0, 4000.0, 4079.0], code)
    assert [order.direction for order in short.orders] == [SELL]
    short.closes([4080.0], code, start=3)
    assert [order.direction for order in short.orders] == [SELL, BUY]
    assert short.portfolio.total_value == to_units(5_000_000 - 2 * 300 * 80) - short.portfolio.fees


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["LossLimitRisk", "ProfitTargetRisk"]), st.floats(0.01, 99), st.integers(1, 10**6),
    st.sampled_from((1, -1)), st.integers(1, 10**10), st.integers(-3, 3), st.booleans(),
)  # fmt: skip
def test_the_bounds_of_a_rule_are_exactly_where_it_begins_to_speak(name, percent, volume, side, each, step, at_low):
    component = find(name, "risk")
    rule = component(component.Params(percent))
    position = Position(CODE, volume=side * volume, cost=side * (volume * each + 7), multiplier=1)
    low, high = rule.bounds(position)
    position.last_price = max((low if at_low or high >= NEVER else high) + step, 1)
    speaks = rule.on_price(position, tick(1.0, day(0)), view=None) is not None
    assert speaks == (position.last_price <= low or position.last_price >= high)


def test_an_exit_takes_back_what_is_still_being_bought():
    held = market(1, risks={"LossLimitRisk": {"loss_limit": 5}})
    morning = day(0) + timedelta(hours=2)
    held.show(tick(10.0, morning))
    held.show(tick(10.0, morning + timedelta(seconds=1), volume=1_000, prev_close=10.0))
    assert held.portfolio.open_orders()[0].remaining == 9_000
    held.show(tick(9.1, morning + timedelta(seconds=2), volume=0, prev_close=10.0))
    (cancel,) = held.cancels
    assert cancel.order_id == held.orders[0].order_id
    assert held.portfolio.open_orders() == []


def test_a_drawdown_takes_back_buys_of_every_code():
    held = market(1, risks={"MaxDrawdownRisk": {"max_drawdown": 1}}, amount=400_000, codes=[CODE, OTHER])
    for number, price in enumerate([10.0, 10.0]):
        held.show(tick(price, close_of(number), CODE))
    held.show(tick(10.0, close_of(1), OTHER))
    held.show(tick(9.5, day(2) + timedelta(hours=2), CODE))
    assert [cancel.order_id for cancel in held.cancels] == [held.orders[1].order_id]
    assert (held.orders[2].code, held.orders[2].direction) == (CODE, SELL)
