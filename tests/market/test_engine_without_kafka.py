"""Engines that have lost their partitions with Kafka look after everything, and do each other no harm (SPEC M2, M3)."""

from __future__ import annotations

import pytest

from market import switch
from market.brokers.port import BrokerUnavailable
from market.engine.recording import end_unsent
from market.engine.watch import BrokerWatch, SwitchWatch
from market.models import BrokerOrder, Fill, Order
from market.submissions import Partitions
from tests.market.desk_support import (
    NOW,
    Died,
    Market,
    events,
    everybody,
    make_desk,
    make_portfolio,
    state_of,
    submission,
    submitted_twice,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def market():
    return Market()


@pytest.fixture
def mine():
    """The partitions of an engine that had them all, and lost them with Kafka."""
    mine = Partitions()
    mine.become(frozenset({0}), 1)
    mine.lose()
    return mine


@pytest.fixture
def desk(market, mine):
    return make_desk(market, sole=mine)


def limit(portfolio):
    return submission(portfolio, order_type="limit", price=9.5)


def left_by_a_dead_engine(market, portfolio):
    order = submission(portfolio)
    market.fail_before["submit"] = Died()
    with pytest.raises(Died):
        make_desk(market).receive([order], NOW)
    return order


def test_the_button_ends_what_works_and_what_is_in_doubt(market, mine, desk):
    portfolio = make_portfolio()
    before, straight, unsent = limit(portfolio), limit(portfolio), submission(portfolio)
    make_desk(market).receive([before], NOW)
    desk.receive([straight], NOW, everybody)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    desk.receive([unsent], NOW, everybody)
    switch.turn(False, "operator")
    SwitchWatch(desk, mine.cares_for, 0.2).step(NOW)
    assert {state_of(each) for each in (before, straight, unsent)} == {"cancelled"}
    assert not BrokerOrder.objects.filter(state="working").exists()


def test_fills_are_booked(market, mine, desk):
    portfolio = make_portfolio()
    desk.receive([submission(portfolio)], NOW, everybody)
    market.trade(10.0)
    market.news(0)  # and nobody was told of it
    watch = BrokerWatch(market, desk, mine.cares_for)
    watch._next_sweep = 0.0
    watch.step(0)
    assert events(portfolio) == ["ack", "filled"]


def test_two_engines_that_look_after_one_order_book_and_tell_everything_once(market, mine, desk):
    portfolio, other = make_portfolio(), make_desk(market, sole=mine)
    working = limit(portfolio)
    desk.receive([submission(portfolio), working], NOW, everybody)
    market.trade(10.0)
    for each in (desk, other, desk, other):
        each.resolve(mine.cares_for)
        each.absorb(Order.objects.values_list("order_id", flat=True))
    switch.turn(False, "operator")
    assert [each.halt(mine.cares_for, NOW) for each in (other, desk)] == [0, 0]
    assert events(portfolio) == ["ack", "ack", "filled", "cancelled"]
    assert Fill.objects.count() == 1 and submitted_twice() == []


def test_what_another_engine_may_just_be_sending_is_neither_sent_nor_ended(market, mine, desk):
    portfolio = make_portfolio()
    order = left_by_a_dead_engine(market, portfolio)
    desk.resolve(mine.cares_for)
    switch.turn(False, "operator")
    assert desk.halt(mine.cares_for, NOW) == 1
    assert state_of(order) == "sending" and not BrokerOrder.objects.exists()


@pytest.mark.parametrize(("on", "becomes"), [(True, "accepted"), (False, "cancelled")])
def test_what_the_broker_has_not_heard_of_for_long_was_never_sent(market, mine, desk, monkeypatch, on, becomes):
    order = left_by_a_dead_engine(market, make_portfolio())
    desk.resolve(mine.cares_for)
    monkeypatch.setattr("market.engine.desk._GRACE", 0.0)
    switch.turn(on, "operator")
    desk.resolve(mine.cares_for) if on else desk.halt(mine.cares_for, NOW)
    assert state_of(order) == becomes


def test_an_order_that_was_ended_while_it_was_frozen_on_its_way_is_cancelled_at_the_broker(market, desk, monkeypatch):
    portfolio = make_portfolio()
    order = limit(portfolio)
    submit = market.submit

    def slow(tickets):
        end_unsent([Order.objects.get()], "engine_stopped")
        return submit(tickets)

    monkeypatch.setattr(market, "submit", slow)
    desk.receive([order], NOW, everybody)
    assert events(portfolio) == ["cancelled"]
    assert BrokerOrder.objects.get().state == "cancelled"


def test_a_portfolio_whose_partition_is_an_engines_again_is_settled_at_once(market, mine, desk):
    order = left_by_a_dead_engine(market, make_portfolio())
    desk.resolve(mine.cares_for)
    assert state_of(order) == "sending"
    mine.become(frozenset({0}), 1)
    desk.resolve(mine.cares_for)
    assert state_of(order) == "accepted"
