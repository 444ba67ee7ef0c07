"""From the books to the broker and back, with a crash at every step (SPEC M2, M3)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.db import OperationalError

from market import switch
from market.brokers.port import BrokerUnavailable
from market.engine import desk as desk_module
from market.engine import recording
from market.engine.watch import BrokerWatch, SwitchWatch
from market.models import BrokerOrder, CancelRequest, FencedMessage, Fill, Order, OutboxMessage
from market.models.order import TERMINAL
from market.topics import MARKET_DATA
from tests.market.desk_support import (
    LIMITS,
    MORNING,
    NOW,
    Died,
    Market,
    cancel_of,
    events,
    everybody,
    make_desk,
    make_portfolio,
    state_of,
    submission,
    submitted_twice,
    told,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def absorb(desk) -> int:
    return desk.absorb(Order.objects.values_list("order_id", flat=True))


def test_an_order_is_acknowledged_then_filled_and_every_answer_is_whole():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio)
    desk.receive([order], NOW)
    assert state_of(order) == "accepted"
    market.trade(10.0, volume=40, at=MORNING + timedelta(seconds=1))
    market.trade(10.0, offset=10**6 + 1, at=MORNING + timedelta(seconds=2))
    absorb(desk)
    ack, partly, filled = told(portfolio)
    assert (ack.event_type, ack.status, ack.seq, ack.timestamp) == ("order_ack", "accepted", 1, MORNING)
    assert (partly.event_type, partly.status, partly.filled_volume, partly.remaining_volume) == (
        "order_partially_filled", "partially_filled", 40, 60,
    )  # fmt: skip
    assert (filled.event_type, filled.status, filled.filled_volume, filled.remaining_volume) == (
        "order_filled", "filled", 60, 0,
    )  # fmt: skip
    assert (filled.code, filled.direction, filled.filled_price, filled.filled_amount) == ("600519.SH", 1, 10.01, 600.6)
    assert filled.timestamp == MORNING + timedelta(seconds=2)
    assert [f.seq for f in told(portfolio)] == [1, 2, 3] == [f.pseq for f in told(portfolio)]
    assert sum(f.volume for f in Fill.objects.all()) == 100
    assert state_of(order) == "filled"


def test_news_that_comes_again_changes_nothing():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    desk.receive([submission(portfolio)], NOW)
    market.trade(10.0)
    assert absorb(desk) == 1
    assert absorb(desk) == 0
    assert absorb(make_desk(market)) == 0
    assert events(portfolio) == ["ack", "filled"]


def test_what_one_price_did_to_several_orders_is_told_by_their_ids_with_the_price_that_did_it():
    portfolio, market = make_portfolio(cash=10_000_000), Market()
    desk = make_desk(market)
    orders = [submission(portfolio) for _ in range(6)]
    desk.receive(orders, NOW)
    market.trade(10.0, offset=10**6 + 5)
    BrokerWatch(market, desk, everybody).step(0)
    fills = [each for each in told(portfolio) if each.event_type == "order_filled"]
    assert [each.order_id for each in fills] == sorted(order.order_id for order in orders)
    assert {each.seen for each in fills} == {f"{MARKET_DATA['cn']}:3:{10**6 + 5}"}


def test_an_order_of_a_later_session_is_told_that_it_expired():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio, order_type="limit", price=9.5)
    desk.receive([order], NOW)
    market.trade(10.0)
    market.trade(9.0, offset=10**6 + 1, at=MORNING + timedelta(days=1))
    absorb(desk)
    assert events(portfolio) == ["ack", "cancelled"]
    assert told(portfolio)[1].reason == "expired"


def test_a_cancel_ends_a_working_order_once():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio, order_type="limit", price=9.5)
    desk.receive([order], NOW)
    wish = cancel_of(order)
    desk.receive([wish], NOW)
    desk.receive([wish], NOW)
    market.trade(9.0)
    absorb(desk)
    assert events(portfolio) == ["ack", "cancelled"]
    assert CancelRequest.objects.get().done


def test_a_cancel_that_comes_too_late_finds_the_fill():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio)
    desk.receive([order], NOW)
    market.trade(10.0)
    desk.receive([cancel_of(order)], NOW)
    assert events(portfolio) == ["ack", "filled"]


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("before the broker has it", {"fail_before": {"submit": Died()}}),
        ("after the broker has it", {"fail_after": {"submit": Died()}}),
    ],
)
def test_a_crash_around_the_submission_loses_and_repeats_nothing(where, how):
    portfolio, market = make_portfolio(), Market()
    order = submission(portfolio)
    vars(market).update(how)
    with pytest.raises(Died):
        make_desk(market).receive([order], NOW)
    assert state_of(order) == "sending"
    risen = make_desk(market)
    risen.resolve(everybody)
    risen.receive([order], NOW)  # its offset was not committed
    assert events(portfolio) == ["ack"]
    assert submitted_twice() == []


def test_fills_that_happened_while_the_engine_was_dead_are_booked():
    portfolio, market = make_portfolio(), Market()
    market.fail_after["submit"] = Died()
    with pytest.raises(Died):
        make_desk(market).receive([submission(portfolio)], NOW)
    market.trade(10.0)
    make_desk(market).resolve(everybody)
    assert events(portfolio) == ["ack", "filled"]
    assert submitted_twice() == []


def test_a_crash_in_the_midst_of_booking_leaves_nothing_half_told(monkeypatch):
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    desk.receive([submission(portfolio)], NOW)
    market.trade(10.0)

    def die(*_):
        raise Died

    monkeypatch.setattr(recording.Answers, "save", die)
    with pytest.raises(Died):
        absorb(desk)
    monkeypatch.undo()
    assert not Fill.objects.exists()
    absorb(make_desk(market))
    assert events(portfolio) == ["ack", "filled"]


def test_a_cancel_that_a_crash_kept_from_the_broker_is_carried_out():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio, order_type="limit", price=9.5)
    desk.receive([order], NOW)
    market.fail_before["cancel"] = Died()
    with pytest.raises(Died):
        desk.receive([cancel_of(order)], NOW)
    make_desk(market).resolve(everybody)
    assert events(portfolio) == ["ack", "cancelled"]


def test_orders_that_a_silent_broker_may_have_are_asked_about_before_they_are_sent_again():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    heard, unheard = submission(portfolio), submission(portfolio)
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    desk.receive([heard], NOW)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    desk.receive([unheard], NOW)
    assert desk.in_doubt.is_set() and events(portfolio) == []
    desk.resolve(everybody)
    assert not desk.in_doubt.is_set()
    assert events(portfolio) == ["ack", "ack"]
    assert submitted_twice() == [] and BrokerOrder.objects.count() == 2


@pytest.mark.parametrize("at", ["its books", "its first question", "its last question"])
def test_frozen_between_a_look_and_the_broker_an_engine_asks_whether_its_successor_has_sent_it(monkeypatch, at):
    clock = [0.0]
    monkeypatch.setattr(desk_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    portfolio, market = make_portfolio(), Market()
    frozen, successor = make_desk(market), make_desk(market)
    order = submission(portfolio)

    def then_frozen(work, before=0):
        calls = itertools.count()

        def worked(*arguments):
            if next(calls) < before:
                return work(*arguments)
            monkeypatch.undo()
            monkeypatch.setattr(desk_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
            done = work(*arguments)
            clock[0] += 12
            successor.resolve(everybody)
            return done

        return worked

    if at == "its books":
        monkeypatch.setattr(frozen._intake, "take", then_frozen(frozen._intake.take))
        frozen.receive([order], NOW)
    else:
        market.fail_before["submit"] = BrokerUnavailable("the line is dead")
        frozen.receive([order], NOW)
        monkeypatch.setattr(market, "query", then_frozen(market.query, 0 if "first" in at else 1))
        frozen.resolve(everybody)
    assert frozen.in_doubt.is_set() is ("first" not in at) and submitted_twice() == []
    frozen.resolve(everybody)
    assert not frozen.in_doubt.is_set()
    assert submitted_twice() == [] and events(portfolio) == ["ack"]


def test_a_transaction_whose_end_was_not_seen_is_settled(monkeypatch):
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio)
    take = desk._intake.take

    def cut_off(*arguments):
        take(*arguments)
        raise OperationalError("lost connection during commit")

    monkeypatch.setattr(desk._intake, "take", cut_off)
    with pytest.raises(OperationalError):
        desk.receive([order], NOW)
    assert desk.in_doubt.is_set()
    desk.in_doubt.clear()
    monkeypatch.undo()
    desk.receive([order], NOW)
    assert desk.in_doubt.is_set() and events(portfolio) == []
    desk.resolve(everybody)
    assert events(portfolio) == ["ack"] and submitted_twice() == []


def test_doubts_remain_while_the_broker_does_not_answer():
    market = Market()
    desk = make_desk(market)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    desk.receive([submission(make_portfolio())], NOW)
    market.fail_before["query"] = BrokerUnavailable("still dead")
    with pytest.raises(BrokerUnavailable):
        desk.resolve(everybody)
    assert desk.in_doubt.is_set()


def test_an_order_the_broker_accepted_and_forgot_is_an_operators():
    market = Market()
    desk = make_desk(market)
    order = submission(make_portfolio())
    desk.receive([order], NOW)
    BrokerOrder.objects.all().delete()
    desk.resolve(everybody)
    assert [kind for kind, _ in market.alerts.raised] == ["order_in_doubt"]
    assert state_of(order) == "accepted" and not BrokerOrder.objects.exists()


def test_resolving_leaves_other_engines_orders_alone():
    mine, theirs, market = make_portfolio(), make_portfolio(), Market()
    for portfolio in (mine, theirs):
        market.fail_before["submit"] = Died()
        with pytest.raises(Died):
            make_desk(market).receive([submission(portfolio)], NOW)
    make_desk(market).resolve(lambda portfolio_id: portfolio_id == mine.id)
    assert events(mine) == ["ack"] and events(theirs) == []


def test_what_is_not_honoured_is_alerted():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio)
    desk.receive([order, submission(portfolio, epoch=1)], NOW)
    desk.receive([submission(portfolio, order_id=order.order_id, volume=200)], NOW)
    desk.receive([submission("00000000-0000-4000-8000-000000000000")], NOW)
    assert [kind for kind, _ in market.alerts.raised] == ["order_fenced", "data_anomaly", "data_anomaly"]
    assert FencedMessage.objects.count() == 1
    assert events(portfolio) == ["ack"]


def test_the_button_ends_what_works_and_what_is_in_doubt():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    working = submission(portfolio, order_type="limit", price=9.5)
    desk.receive([working], NOW)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    unsent = submission(portfolio)
    desk.receive([unsent], NOW)
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    unheard = submission(portfolio)
    desk.receive([unheard], NOW)
    switch.turn(False, "operator")
    assert SwitchWatch(desk, everybody, 0.2).step(NOW) is False
    assert {state_of(each) for each in (working, unsent, unheard)} == {"cancelled"}
    assert {f.reason for f in told(portfolio) if f.event_type == "order_cancelled"} == {"engine_stopped"}
    market.trade(9.0)
    absorb(desk)
    assert not Fill.objects.exists()


def test_the_button_is_repeated_until_the_broker_answers():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    order = submission(portfolio, order_type="limit", price=9.5)
    desk.receive([order], NOW)
    switch.turn(False, "operator")
    watch = SwitchWatch(desk, everybody, 0.2)
    market.fail_before["cancel"] = BrokerUnavailable("the line is dead")
    watch.step(NOW)
    assert state_of(order) == "accepted"
    watch.step(NOW)
    assert state_of(order) == "cancelled"


def test_after_a_restart_with_the_switch_off_nothing_is_sent():
    portfolio, market = make_portfolio(), Market()
    market.fail_before["submit"] = Died()
    with pytest.raises(Died):
        make_desk(market).receive([submission(portfolio)], NOW)
    switch.turn(False, "operator")
    make_desk(market).resolve(everybody)
    assert events(portfolio) == ["cancelled"] and not BrokerOrder.objects.exists()


def test_trading_goes_on_when_the_switch_is_put_on_again():
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    switch.turn(False, "operator")
    desk.receive([submission(portfolio)], NOW)
    switch.turn(True, "operator")
    desk.receive([submission(portfolio)], NOW)
    assert events(portfolio) == ["rejected", "ack"]


def test_news_that_cannot_be_booked_is_booked_later(monkeypatch):
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market)
    desk.receive([submission(portfolio)], NOW)
    watch = BrokerWatch(market, desk, everybody)
    watch.step(0)
    market.trade(10.0)
    with monkeypatch.context() as away:

        def gone(*_, **__):
            raise OperationalError("server has gone away")

        away.setattr("market.engine.desk.record", gone)
        assert watch.step(0) == 0
    assert watch.step(0) == 1
    assert events(portfolio) == ["ack", "filled"]


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_report_that_the_books_cannot_hold_is_alerted_and_the_others_are_booked(monkeypatch, all_at_once):
    portfolio, market = make_portfolio(), Market()
    desk, orders = make_desk(market), [submission(portfolio) for _ in range(5)]
    desk.receive(orders, NOW)
    market.trade(10.0)
    wrong = orders[2].order_id
    (execution,) = market.query([wrong])[wrong].executions
    other = submission(make_portfolio())
    desk.receive([other], NOW)
    call_command("engine", "decide", other.order_id, "filled", "--price", "10", "--fill-id", execution.fill_id, "--yes")
    if all_at_once:
        desk.resolve(everybody)
    else:
        watch = BrokerWatch(market, desk, everybody)
        assert watch.step(0) == 4
        assert not watch._failing
    assert [state_of(each) for each in orders] == ["filled", "filled", "accepted", "filled", "filled"]
    (text,) = [text for kind, text in market.alerts.raised if kind == "order_in_doubt"]
    assert wrong in text and "cannot be booked" in text


THREE_A_MINUTE = replace(LIMITS, max_orders_per_minute=3)


def test_orders_that_another_engine_took_in_meanwhile_count_when_its_partitions_come_back():
    portfolio, market = make_portfolio(), Market()
    first, second = make_desk(market, THREE_A_MINUTE), make_desk(market, THREE_A_MINUTE)
    first.receive([submission(portfolio)], NOW)
    second.receive([submission(portfolio), submission(portfolio)], NOW)
    first.resolve(everybody)
    first.receive([submission(portfolio)], NOW)
    assert told(portfolio)[-1].reason == "order_rate"


def test_orders_that_two_engines_take_in_at_once_count_together():
    """Straight from nodes, while nobody can say whose the portfolio is."""
    portfolio, market = make_portfolio(), Market()
    first, second = (make_desk(market, THREE_A_MINUTE, sole=lambda _: False) for _ in range(2))
    for desk in (first, second, first, second):
        desk.receive([submission(portfolio)], NOW, everybody)
    assert events(portfolio) == ["ack", "ack", "ack", "rejected"]


def test_orders_that_a_failing_database_did_not_take_do_not_count(monkeypatch):
    portfolio, market = make_portfolio(), Market()
    desk = make_desk(market, THREE_A_MINUTE)
    orders = [submission(portfolio) for _ in range(2)]
    with monkeypatch.context() as full:

        def cannot_write(*_, **__):
            raise OperationalError("database or disk is full")

        full.setattr("market.engine.intake.Answers.save", cannot_write)
        for _ in range(5):
            with pytest.raises(OperationalError):
                desk.receive(orders, NOW)
    desk.receive(orders, NOW)
    for _ in range(2):
        desk.receive([submission(portfolio)], NOW)
    assert events(portfolio) == ["ack", "ack", "ack", "rejected"]


def test_the_books_agree_with_the_exchange_to_the_unit():
    portfolio, market = make_portfolio(cash=1_000_000), Market()
    desk = make_desk(market)
    for n in range(5):
        desk.receive([submission(portfolio)], NOW)
        market.trade(10.0 + n / 10, offset=10**6 + n, volume=60)
        market.trade(10.0 + n / 10, offset=10**7 + n)
        absorb(desk)
    cash = portfolio.initial_cash - sum(
        f.direction * f.amount + f.commission + f.tax for f in Fill.objects.filter(portfolio=portfolio)
    )
    held = market.holdings([portfolio.id])
    assert held.cash == int(cash * 10_000) and held.positions == {"600519.SH": 500}
    assert all(order.state in TERMINAL for order in Order.objects.all())
    assert OutboxMessage.objects.count() == 15
