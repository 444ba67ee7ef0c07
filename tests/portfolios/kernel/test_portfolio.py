"""A portfolio's flow: from a price to orders, from feedback to the books."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from portfolios.kernel.config import PortfolioConfig
from portfolios.kernel.events import Cause, Feedback
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, order_id
from portfolios.kernel.portfolio import FeedbackGap, Portfolio
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel import scripted as scripted_components
from tests.portfolios.kernel.harness import CODE, PORTFOLIO_ID, TOPIC, Market, close_of, config, day, tick

# With averages of 2 and 3: below at the first full window, above at the rise, below again at the fall.
DOWN_UP = [10.0, 9.9, 9.8, 10.2]
DOWN_UP_DOWN = [*DOWN_UP, 10.2, 10.0, 9.4]


def scripted(*script: int, **options: Any) -> PortfolioConfig:
    return config(scripted_components.PATH, {"script": list(script)}, **options)


def decisions(market: Market) -> list[tuple[str, str, str]]:
    return [(each.kind, each.source, each.reason) for each in market.portfolio.take_decisions()]


def test_a_crossing_gives_one_market_order_named_after_the_tick_that_caused_it():
    market = Market(config())
    market.closes(DOWN_UP)
    (order,) = market.orders
    assert (order.code, order.direction, order.order_type, order.price) == (CODE, BUY, "market", None)
    assert order.cause == f"{TOPIC}:0:3:0"
    assert order.order_id == order_id(PORTFOLIO_ID, order.cause, 0)
    assert order.timestamp == close_of(3)


def test_the_incarnation_is_part_of_an_orders_name():
    market = Market(config())
    market.portfolio.incarnation = 2
    market.closes(DOWN_UP)
    assert market.orders[0].order_id == order_id(PORTFOLIO_ID, f"{TOPIC}:0:3:0", 2)


def test_the_amount_is_rounded_down_to_whole_lots():
    market = Market(config(sizer_params={"amount": 3_200}))
    market.closes(DOWN_UP)
    assert market.orders[0].volume == 300


def test_an_open_buy_holds_back_the_worst_that_it_can_cost_and_no_more_cash_than_there_is():
    market = Market(config(sizer_params={"amount": 10_000_000}), cash=100_000)
    market.closes(DOWN_UP)
    portfolio = market.portfolio
    limit_up = to_units(11.22)
    volume = market.orders[0].volume
    assert volume == 8_900
    fees = market.rules.fees(CODE, BUY, volume * limit_up, volume, date(2024, 1, 8))
    assert portfolio.frozen == volume * limit_up + fees.total
    assert 0 <= portfolio.available_cash < 100 * limit_up + fees.total
    assert ("shrink", "portfolio", "there is no cash for more") in decisions(market)


def test_a_fill_books_price_fees_and_shares_to_the_cent():
    market = Market(config())
    market.closes([*DOWN_UP, 10.2])
    (fill,) = market.fills
    portfolio = market.portfolio
    assert fill.volume == 9_800
    assert fill.amount == to_units(99_960)
    assert fill.commission == to_units(29.99)
    assert fill.tax == to_units(1.0)
    assert portfolio.cash == to_units(1_000_000 - 99_960 - 29.99 - 1.0)
    assert portfolio.frozen == 0
    position = portfolio.positions[CODE]
    assert (position.volume, position.available, position.last_price) == (9_800, 0, to_units(10.2))
    assert portfolio.fees == to_units(30.99)
    assert portfolio.total_value == to_units(1_000_000 - 30.99)


def test_an_acknowledgement_is_never_a_fill():
    market = Market(config())
    market.closes(DOWN_UP)
    assert market.portfolio.positions == {}
    assert market.portfolio.cash == to_units(1_000_000)
    assert [each.status for each in market.portfolio.open_orders()] == ["accepted"]


def test_what_was_bought_today_can_be_sold_from_the_next_session_on():
    market = Market(config())
    market.closes([*DOWN_UP, 10.2])
    assert market.portfolio.positions[CODE].available == 0
    market.show(tick(10.2, day(5) + timedelta(hours=2), prev_close=10.2))
    assert market.portfolio.positions[CODE].available == 9_800


def test_a_round_trip_leaves_profit_less_fees_in_cash():
    market = Market(config())
    market.closes([*DOWN_UP_DOWN, 9.4])
    assert [fill.direction for fill in market.fills] == [BUY, SELL]
    portfolio = market.portfolio
    assert portfolio.positions == {}
    assert portfolio.cash == portfolio.total_value == to_units(1_000_000) + portfolio.realised
    assert portfolio.realised == (to_units(9.4) - to_units(10.2)) * 9_800 - portfolio.fees


def test_selling_with_nothing_held_orders_nothing():
    market = Market(config())
    market.closes([10.0, 10.1, 10.2, 9.8, 9.7])
    assert market.orders == []
    assert ("skip", "portfolio", "nothing is held") in decisions(market)


def test_a_buy_while_holding_or_buying_adds_nothing_unless_pyramiding():
    plain, pyramid = Market(scripted(1, 1, 1)), Market(scripted(1, 1, 1, policy={"pyramiding": True}))
    for market in (plain, pyramid):
        market.closes([10.0] * 4)
    assert [order.direction for order in plain.orders] == [BUY]
    assert [order.direction for order in pyramid.orders] == [BUY, BUY, BUY]
    assert pyramid.portfolio.positions[CODE].volume == 3 * plain.portfolio.positions[CODE].volume


def test_a_sell_while_the_buy_is_still_open_cancels_it():
    market = Market(scripted(1, -1))
    market.show(tick(10.0, close_of(0)))
    market.show(tick(11.0, close_of(1), prev_close=10.0))
    assert market.fills == []
    (cancel,) = market.cancels
    assert cancel.order_id == market.orders[0].order_id
    assert cancel.cause == f"{TOPIC}:0:1:0"
    assert market.portfolio.frozen == 0
    assert market.portfolio.open_orders() == []
    assert market.portfolio.unanswered() == []


def test_an_unfilled_order_ends_with_its_session_and_frees_its_cash():
    market = Market(config())
    market.closes(DOWN_UP)
    market.show(tick(11.22, close_of(4), prev_close=10.2))
    market.show(tick(11.3, close_of(5), prev_close=11.22))
    assert [each.reason for each in market.expired] == ["expired"]
    assert market.portfolio.frozen == 0
    assert market.portfolio.cash == to_units(1_000_000)


def test_partial_fills_keep_the_rest_open():
    market = Market(config())
    market.closes(DOWN_UP)
    for second, volume in enumerate((3_000, 3_000), 1):
        market.show(tick(10.2, day(4) + timedelta(hours=2, seconds=second), prev_close=10.2, volume=volume))
    (open_order,) = market.portfolio.open_orders()
    assert (open_order.filled, open_order.remaining, open_order.status) == (6_000, 3_800, "partially_filled")
    assert market.portfolio.positions[CODE].volume == 6_000
    assert 0 < market.portfolio.frozen < to_units(60_000)
    market.show(tick(10.2, day(4) + timedelta(hours=2, seconds=9), prev_close=10.2))
    assert market.portfolio.open_orders() == []
    assert market.portfolio.frozen == 0
    assert market.portfolio.fees == to_units(30.99)


def test_a_rejection_frees_the_cash_and_holds_the_code_back_for_a_minute():
    portfolio = Market(scripted(1, 1, 1)).portfolio
    morning = day(0) + timedelta(hours=2)
    (order,) = portfolio.apply(tick(10.0, morning), Cause(TOPIC, 0, 0))
    rejected = Feedback(event_type="order_rejected", timestamp=morning, order_id=order.order_id, seq=1, pseq=1,
                        portfolio_id=PORTFOLIO_ID, status="rejected", reason="engine_stopped")  # fmt: skip
    portfolio.apply(rejected, Cause("f", 0, 0))
    assert portfolio.frozen == 0
    assert portfolio.take_decisions()[-1].reason == "engine_stopped"
    assert portfolio.apply(tick(10.0, morning + timedelta(seconds=59)), Cause(TOPIC, 0, 1)) == []
    assert len(portfolio.apply(tick(10.0, morning + timedelta(seconds=60)), Cause(TOPIC, 0, 2))) == 1


def test_feedback_that_comes_twice_counts_once():
    market = Market(config())
    market.closes([*DOWN_UP, 10.2])
    before = market.portfolio.snapshot()
    fill = market.fills[0]
    market.pseq -= 1
    market.answer_fill(fill)
    assert market.portfolio.snapshot() == before


def test_a_gap_in_the_feedback_is_told_and_changes_nothing():
    market = Market(config())
    market.closes(DOWN_UP)
    before = market.portfolio.snapshot()
    late = Feedback(event_type="order_rejected", timestamp=close_of(3), order_id=market.orders[0].order_id,
                    portfolio_id=PORTFOLIO_ID, seq=2, pseq=5, status="rejected")  # fmt: skip
    with pytest.raises(FeedbackGap) as caught:
        market.portfolio.apply(late, Cause("f", 0, 9))
    assert (caught.value.expected, caught.value.got) == (2, 5)
    assert market.portfolio.snapshot() == before


def test_a_fill_of_an_order_that_nobody_remembers_is_still_booked():
    market = Market(config())
    market.closes([10.0])
    market.answer("order_filled", "f5a3a0a4-0000-4000-8000-000000000000", close_of(0), fill_id="x", code="000001.SZ",
                  direction=BUY, filled_volume=100, remaining_volume=0, filled_price=10.0, filled_amount=1000.0,
                  commission=5.0, tax=0.01)  # fmt: skip
    portfolio = market.portfolio
    assert portfolio.positions["000001.SZ"].volume == 100
    assert portfolio.cash == to_units(1_000_000 - 1_005.01)
    assert portfolio.codes == {CODE, "000001.SZ"}


def test_what_had_no_answer_is_what_a_successor_sends_again_in_order():
    codes = [CODE, "000001.SZ"]
    portfolio = Portfolio(PORTFOLIO_ID, scripted(1, codes=codes), rules_for("cn"), to_units(10**6))
    sent = []
    for number, code in enumerate(codes):
        sent += portfolio.apply(tick(10.0, close_of(0), code), Cause(TOPIC, 0, number))
    assert [intent.code for intent in sent] == codes
    assert portfolio.unanswered() == sent
    restored = Portfolio.restore(portfolio.snapshot(), PORTFOLIO_ID, portfolio.config, portfolio.rules)
    assert restored.unanswered() == sent
    ack = Feedback(event_type="order_ack", timestamp=close_of(0), order_id=sent[0].order_id, portfolio_id=PORTFOLIO_ID,
                   seq=1, pseq=1, status="accepted")  # fmt: skip
    portfolio.apply(ack, Cause("f", 0, 0))
    assert portfolio.unanswered() == sent[1:]


def test_after_a_users_stop_unanswered_orders_are_cancelled_and_the_cancel_goes_first():
    portfolio = Portfolio(PORTFOLIO_ID, config(), rules_for("cn"), to_units(10**6))
    for number, price in enumerate(DOWN_UP):
        portfolio.apply(tick(price, close_of(number)), Cause(TOPIC, 0, number))
    (order,) = portfolio.unanswered()
    (cancel,) = portfolio.cancel_unanswered(Cause("stop", 0, 7))
    assert cancel.order_id == order.order_id
    assert portfolio.unanswered() == [cancel, order]
    assert portfolio.cancel_unanswered(Cause("stop", 0, 8)) == []


@pytest.mark.parametrize(
    ("price", "fields", "says"),
    [
        (0.0, {}, "not a price"),
        (-1.0, {}, "not a price"),
        (11.01, {"prev_close": 10.0}, "outside the price limits 9 to 11"),
    ],
)
def test_an_absurd_price_is_not_used_and_said_so(price, fields, says):
    market = Market(config())
    market.closes([10.0, 9.9, 9.8])
    state = market.portfolio._watches[CODE].memory.count
    market.show(tick(price, close_of(3), **fields))
    assert market.orders == []
    assert market.portfolio._watches[CODE].memory.count == state
    assert market.portfolio.price_of(CODE) == to_units(9.8)
    assert any(kind == "data" and says in reason for kind, _, reason in decisions(market))


def test_a_new_price_level_is_believed_after_a_session():
    market = Market(config())
    for number, price in enumerate([10.0, 5.0, 5.0]):
        market.show(tick(price, close_of(number)))
    assert market.portfolio.price_of(CODE) == to_units(5.0)
    assert [each.kind for each in market.portfolio.take_decisions()] == ["data"]


def test_special_treatment_narrows_what_is_credible():
    flagged = Market(config(policy={"st": [CODE]}))
    flagged.show(tick(10.6, close_of(0), prev_close=10.0))
    assert flagged.portfolio.price_of(CODE) == 0


def test_a_stale_price_raises_no_signal_but_is_still_counted():
    codes = [CODE, "000001.SZ"]
    fresh, limited = Market(config(codes=codes)), Market(config(codes=codes, policy={"max_signal_age": 60}))
    for market in (fresh, limited):
        market.closes(DOWN_UP[:3])
        market.show(tick(10.0, close_of(3) + timedelta(seconds=61), "000001.SZ"))
        market.show(tick(10.2, close_of(3), CODE, prev_close=9.8))
    assert len(fresh.orders) == 1
    assert limited.orders == []
    assert limited.portfolio._watches[CODE].memory == fresh.portfolio._watches[CODE].memory
    assert ("data", "policy.max_signal_age", "a stale price raises no signal") in decisions(limited)


def test_signals_of_one_code_keep_their_distance():
    market = Market(config(policy={"min_signal_interval": 10 * 86_400}))
    market.closes([*DOWN_UP_DOWN, 9.4])
    assert [order.direction for order in market.orders] == [BUY]
    assert ("veto", "policy.min_signal_interval", "too soon after the last signal") in decisions(market)


def test_a_lagging_partition_does_not_turn_the_day_back():
    market = Market(config(codes=[CODE, "000001.SZ"]))
    market.show(tick(10.0, close_of(1), CODE))
    market.show(tick(20.0, close_of(0), "000001.SZ"))
    assert market.portfolio.day == date(2024, 1, 3)
    assert market.portfolio.now == close_of(1)
    assert market.portfolio.price_of("000001.SZ") == to_units(20.0)


def test_prices_of_other_codes_are_none_of_its_business():
    market = Market(config())
    before = market.portfolio.snapshot()
    assert market.portfolio.apply(tick(10.0, close_of(0), "000001.SZ"), Cause(TOPIC, 0, 0)) == []
    assert market.portfolio.snapshot() == before


def test_a_warm_start_decides_like_one_that_saw_it_all():
    cold = Portfolio(PORTFOLIO_ID, config(), rules_for("cn"), to_units(10**6))
    assert cold.warmup_bars == 3
    for number, price in enumerate(DOWN_UP[:3]):
        cold.warm_up(tick(price, close_of(number)))
    assert cold.unanswered() == []
    (order,) = cold.apply(tick(DOWN_UP[3], close_of(3)), Cause(TOPIC, 0, 3))
    assert order.direction == BUY


def test_a_reload_warms_up_only_what_was_changed():
    market = Market(config(codes=[CODE, "000001.SZ"], sizer="ATRSizer", sizer_params={"period": 3}))
    assert market.portfolio.cold == {CODE, "000001.SZ"}
    market.closes([10.0, 9.9, 9.8, 9.7])
    same = market.portfolio.reconfigured(market.portfolio.config)
    assert same.cold == {"000001.SZ"}
    longer = {"short_period": 2, "long_period": 4}
    changed = same.reconfigured(config(params=longer, codes=[CODE], sizer="ATRSizer", sizer_params={"period": 3}))
    assert changed.cold == {CODE}
    sizer_memory = msgspec.structs.replace(changed._watches[CODE].sizer_memory)
    for number, price in enumerate([9.9, 9.8, 9.7, 9.6]):
        changed.warm_up(tick(price, close_of(number - 4)))
    assert changed._watches[CODE].memory.count == 4
    assert changed._watches[CODE].sizer_memory == sizer_memory
    assert changed.price_of(CODE) == to_units(9.7)
    assert (changed.day, changed.now) == (same.day, same.now)


def test_money_in_and_out_moves_the_base_and_is_no_profit():
    market = Market(config())
    market.closes([*DOWN_UP, 10.2])
    portfolio = market.portfolio
    profit = portfolio.total_value - portfolio.initial_cash
    portfolio.adjust_cash(to_units(50_000))
    portfolio.adjust_cash(-to_units(20_000))
    assert portfolio.initial_cash == to_units(1_030_000)
    assert portfolio.total_value - portfolio.initial_cash == profit
    with pytest.raises(ValueError, match="can be withdrawn"):
        portfolio.adjust_cash(-portfolio.available_cash - 1)


def test_a_correction_of_shares_can_be_sold_and_then_leaves_no_trace_but_cash():
    market = Market(config())
    market.closes([10.0])
    market.portfolio.adjust_position("000001.SZ", 500, to_units(12.0))
    assert market.portfolio.positions["000001.SZ"].available == 500
    assert market.portfolio.codes == {CODE, "000001.SZ"}
    market.portfolio.adjust_position("000001.SZ", -500, to_units(12.0))
    assert market.portfolio.codes == {CODE}
    assert market.portfolio.total_value == market.portfolio.initial_cash == to_units(1_000_000)


def test_futures_can_be_sold_first_and_hold_margin():
    code = "IF2612.CFX"
    rules = rules_for("futures", commission_rate=0.0)
    whole = scripted(-1, 0, 1, sizer="RatioSizer", sizer_params={"ratio": 1.0}, codes=[code])
    market = Market(whole, cash=3_000_000, rules=rules)
    market.closes([4000.0, 4000.0, 3900.0], code)
    portfolio = market.portfolio
    position = portfolio.positions[code]
    assert (position.volume, position.available, position.unrealised) == (-2, 0, to_units(2 * 300 * 100))
    opening, closing = to_units(2 * 300 * 4000 * 0.000023), to_units(54.51)  # the exchange's fees
    assert portfolio.cash == to_units(3_000_000) - opening
    assert portfolio.margin == to_units(2 * 300 * 3900 * 0.12)
    assert portfolio.total_value == to_units(3_060_000) - opening
    market.closes([3950.0], code, start=3)
    assert [(fill.direction, fill.volume) for fill in market.fills] == [(SELL, 2), (BUY, 2)]
    assert portfolio.positions == {}
    assert portfolio.cash == portfolio.total_value == to_units(3_030_000) - opening - closing


def test_opposite_signals_of_one_code_cancel_out():
    market = Market(config(scripted_components.CONTRADICTING))
    market.closes([10.0, 10.0])
    assert market.intents == []
    assert decisions(market) == [("veto", "portfolio", "opposite signals cancel out")]


def test_a_strategy_may_signal_another_code_but_not_a_foreign_one_or_one_without_a_price():
    others = ["000001.SZ", "600000.SH", "688981.SH"]
    market = Market(config(scripted_components.PAIR, {"others": others}, codes=[CODE, *others[:2]]))
    market.show(tick(20.0, close_of(0), "000001.SZ"))
    market.portfolio.take_decisions()
    market.show(tick(10.0, close_of(0), CODE))
    (order,) = market.orders
    assert (order.code, order.volume, order.cause) == ("000001.SZ", 5_000, f"{TOPIC}:0:1:0")
    reasons = {reason for _, _, reason in decisions(market)}
    assert {"there is no price yet", "688981.SH is not one of its codes"} <= reasons


def test_sells_go_before_buys_and_a_rules_exit_before_both():
    market = Market(scripted(1, 0, 1, codes=[CODE], risks={"LossLimitRisk": {"loss_limit": 5}}))
    market.closes([10.0, 10.0, 9.4])
    assert [order.direction for order in market.orders] == [BUY, SELL]
    found = decisions(market)
    assert ("exit", "LossLimitRisk", "lost 5 % of its cost") in found
    assert ("veto", "portfolio", "a risk rule's exit goes first") in found


def test_an_exit_that_t_plus_1_forbids_is_made_the_next_day():
    market = Market(scripted(1, risks={"LossLimitRisk": {"loss_limit": 5}}))
    morning = day(0) + timedelta(hours=2)
    for second, price in enumerate([10.0, 10.0, 9.4, 9.4]):
        market.show(tick(price, morning + timedelta(seconds=second), prev_close=10.0))
    assert [order.direction for order in market.orders] == [BUY]
    found = decisions(market)
    assert found.count(("skip", "LossLimitRisk", "lost 5 % of its cost: cannot be closed yet")) == 1
    market.show(tick(9.4, day(1) + timedelta(hours=2), prev_close=9.4))
    assert [order.direction for order in market.orders] == [BUY, SELL]


def test_an_order_that_has_begun_to_be_closed_is_not_closed_twice():
    market = Market(scripted(1, 0, -1, -1))
    market.closes([10.0, 10.0])
    for second in (1, 2):
        market.portfolio.apply(tick(10.0, day(3) + timedelta(hours=2, seconds=second)), Cause(TOPIC, 0, 50 + second))
    assert [each.closes for each in market.portfolio.open_orders()] == [True]
    assert market.portfolio.positions[CODE].available == 0


def test_decisions_that_nobody_takes_are_bounded():
    market = Market(scripted(*[-1] * 3_000))
    morning = day(0) + timedelta(hours=2)
    for second in range(3_000):
        market.show(tick(10.0, morning + timedelta(seconds=second)))
    assert len(market.portfolio.take_decisions()) == 1_000
    assert market.portfolio.take_decisions() == []


def test_a_direction_that_is_none_is_an_error_of_the_strategy():
    with pytest.raises(ValueError, match="use BUY or SELL"):
        Market(scripted(2)).closes([10.0])


@pytest.mark.parametrize(("volume", "price"), [(0, 10_0000), (100, 0)])
def test_a_correction_of_nothing_is_refused(volume, price):
    with pytest.raises(ValueError, match="needs a volume and a price"):
        Market(config()).portfolio.adjust_position(CODE, volume, price)


def test_what_is_promised_to_an_open_order_cannot_be_corrected_away():
    market = Market(scripted(1, 0, -1))
    market.closes([10.0, 10.0])
    market.portfolio.apply(tick(10.0, day(3) + timedelta(hours=2)), Cause(TOPIC, 0, 50))
    with pytest.raises(ValueError, match="in open orders"):
        market.portfolio.adjust_position(CODE, -100, to_units(10.0))


def test_a_fill_without_its_figures_is_an_error_and_not_half_booked():
    market = Market(config())
    market.closes(DOWN_UP)
    before = market.portfolio.snapshot()
    with pytest.raises(ValueError, match="without its figures"):
        market.answer("order_filled", market.orders[0].order_id, close_of(4))
    assert market.portfolio.snapshot() == before


@pytest.mark.parametrize(("market", "code"), [("hk", "00700.HK"), ("us", "AAPL.US")])
def test_where_no_limit_bounds_the_price_a_buy_is_bounded_by_its_own_and_rests_when_the_price_jumps(market, code):
    scene = Market(config(sizer_params={"amount": 10_000_000}, codes=[code]), cash=100_000, rules=rules_for(market))
    scene.closes(DOWN_UP, code)
    (order,) = scene.orders
    assert (order.order_type, order.price) == ("limit", pytest.approx(DOWN_UP[-1] * 1.1, abs=0.02))
    held_back = scene.portfolio.frozen
    assert 0 < held_back <= to_units(100_000)
    scene.closes([DOWN_UP[-1] * 1.2], code, start=len(DOWN_UP))
    assert scene.fills == []  # too dear: it waits for its session to end
    scene.closes([DOWN_UP[-1] * 1.2], code, start=len(DOWN_UP) + 1)
    assert len(scene.expired) == 1
    assert (scene.portfolio.frozen, scene.portfolio.cash) == (0, to_units(100_000))
