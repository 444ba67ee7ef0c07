"""A broker that cannot tell about an order: that one stays in doubt, everything else goes on (SPEC M2, M3)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import IntegrityError

from market import switch
from market.brokers.port import BrokerUnavailable, CannotTell
from market.engine import asking
from market.engine.watch import BrokerWatch, SwitchWatch
from market.models import BrokerOrder
from tests.market.desk_support import (
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
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


class Forgetful(Market):
    """Cannot tell about `forgotten`, or (`everything`) about any."""

    def __init__(self):
        super().__init__()
        self.forgotten, self.everything, self.asked = set(), False, 0

    def query(self, order_ids):
        self.asked += 1
        if lost := [each for each in order_ids if self.everything or each in self.forgotten]:
            raise CannotTell(f"no order {lost[0][:8]} in this session")
        return super().query(order_ids)


@pytest.fixture
def market():
    return Forgetful()


@pytest.fixture
def portfolio():
    return make_portfolio(cash=10_000_000)


def limit(portfolio):
    return submission(portfolio, order_type="limit", price=9.5)


def left_behind(market, order, how="fail_before"):
    """An engine died around its submission, and the broker cannot tell about it any more."""
    getattr(market, how)["submit"] = Died()
    with pytest.raises(Died):
        make_desk(market).receive([order], NOW)
    market.forgotten.add(order.order_id)
    return order


def alerts_of(market, order):
    return [text for kind, text in market.alerts.raised if kind == "order_in_doubt" and order.order_id in text]


def swept(market, desk):
    watch = BrokerWatch(market, desk, everybody)
    watch._next_sweep = 0.0
    return watch.step(0)


def test_it_is_asked_again_in_halves_until_the_others_are_known(market, portfolio):
    orders = [limit(portfolio) for _ in range(20)]
    make_desk(market).receive(orders, NOW)
    lost = orders[7].order_id
    market.forgotten.add(lost)
    market.asked = 0
    answer = asking.ask(market, [each.order_id for each in orders])
    assert set(answer.untold) == {lost}
    assert set(answer.known) == {each.order_id for each in orders} - {lost}
    assert market.asked < 12


def test_an_order_it_cannot_tell_about_stays_in_doubt_and_the_others_are_settled(market, portfolio):
    doubtful = left_behind(market, submission(portfolio))
    filled, unsent = submission(portfolio), submission(portfolio)
    for order, how in ((filled, market.fail_after), (unsent, market.fail_before)):
        how["submit"] = Died()
        with pytest.raises(Died):
            make_desk(market).receive([order], NOW)
    market.trade(10.0)
    desk = make_desk(market)
    desk.in_doubt.set()
    desk.resolve(everybody)
    assert [state_of(each) for each in (doubtful, filled, unsent)] == ["sending", "filled", "accepted"]
    assert not BrokerOrder.objects.filter(order_id=doubtful.order_id).exists(), "it is not sent on a guess"
    assert "ginkgo engine decide" in alerts_of(market, doubtful)[0]
    assert not desk.in_doubt.is_set(), "there is nothing left to be settled by asking"
    assert market.followed >= {doubtful.order_id}


def test_news_and_the_sweep_go_on(market, portfolio):
    desk = make_desk(market)
    doubtful, order = left_behind(market, submission(portfolio)), submission(portfolio)
    desk.receive([order], NOW)
    market.trade(10.0)
    watch = BrokerWatch(market, desk, everybody)
    watch._next_sweep = 0.0
    watch.step(0)
    assert state_of(order) == "filled"
    assert len(alerts_of(market, doubtful)) == 1
    market.everything = True
    watch._next_sweep = 0.0
    assert watch.step(0) == 0


def test_what_it_can_tell_about_again_is_settled(market, portfolio):
    heard = left_behind(market, submission(portfolio), "fail_after")
    unheard = left_behind(market, submission(portfolio))
    desk = make_desk(market)
    desk.resolve(everybody)
    market.forgotten.clear()
    watch = BrokerWatch(market, desk, everybody)
    watch._next_sweep = 0.0
    watch.step(0)
    assert desk.in_doubt.is_set(), "it turns out that one was never there"
    desk.resolve(everybody)
    assert [state_of(each) for each in (heard, unheard)] == ["accepted", "accepted"] and submitted_twice() == []


def test_a_cancel_that_a_crash_kept_from_the_broker_goes_out_though_it_cannot_tell_about_the_order(market, portfolio):
    desk = make_desk(market)
    order = limit(portfolio)
    desk.receive([order], NOW)
    market.fail_before["cancel"] = Died()
    with pytest.raises(Died):
        desk.receive([cancel_of(order)], NOW)
    market.forgotten.add(order.order_id)
    make_desk(market).resolve(everybody)
    assert state_of(order) == "cancelled"


@pytest.mark.parametrize("everything", [False, True])
def test_the_button_cancels_all_that_may_be_working(market, portfolio, everything):
    doubtful = left_behind(market, limit(portfolio), "fail_after")
    working, unheard = limit(portfolio), left_behind(market, limit(portfolio))
    desk = make_desk(market)
    desk.receive([working], NOW)
    market.everything = everything
    switch.turn(False, "operator")
    SwitchWatch(desk, everybody, 0.2).step(NOW)
    assert not BrokerOrder.objects.filter(state="working").exists()
    assert [state_of(each) for each in (doubtful, working, unheard)] == ["cancelled", "cancelled", "sending"]


def test_the_button_is_not_stopped_by_a_cancel_that_cannot_be_told(market, portfolio):
    orders = [limit(portfolio) for _ in range(3)]
    desk = make_desk(market)
    desk.receive(orders, NOW)
    market.fail_before["cancel"] = CannotTell("not in this session")
    assert desk.halt(everybody, NOW) == 1
    assert desk.halt(everybody, NOW) == 0


def test_what_may_be_working_is_cancelled_again_every_now_and_then(market, portfolio, monkeypatch):
    left_behind(market, limit(portfolio))
    desk, sent = make_desk(market), []
    monkeypatch.setattr(market, "cancel", lambda order_id, *_: sent.append(order_id))
    for _ in range(3):
        assert desk.halt(everybody, NOW) == 1
    assert len(sent) == 1
    monkeypatch.setattr("market.engine.desk._CANCEL_AGAIN", 0.0)
    desk.halt(everybody, NOW)
    assert len(sent) == 2


def test_a_submission_that_it_cannot_tell_about_is_a_doubt(market, portfolio):
    desk, order = make_desk(market), submission(portfolio)
    market.fail_after["submit"] = CannotTell("its answer was lost")
    desk.receive([order], NOW)
    assert desk.in_doubt.is_set()
    desk.resolve(everybody)
    assert events(portfolio) == ["ack"] and submitted_twice() == []


@pytest.mark.parametrize("error", [CannotTell("duplicate reference"), KeyError("reference"), IntegrityError("it")])
def test_an_order_that_it_chokes_on_stays_in_doubt_and_the_others_are_sent(market, portfolio, monkeypatch, error):
    orders = [limit(portfolio) for _ in range(5)]
    for order in orders:
        market.fail_before["submit"] = Died()
        with pytest.raises(Died):
            make_desk(market).receive([order], NOW)
    submit, bad, tried = market.submit, orders[2], []

    def choking(tickets):
        tried.append(len(tickets))
        if any(each.order.order_id == bad.order_id for each in tickets):
            raise error
        return submit(tickets)

    monkeypatch.setattr(market, "submit", choking)
    desk = make_desk(market)
    desk.in_doubt.set()
    desk.resolve(everybody)
    assert [state_of(each) for each in orders] == ["accepted", "accepted", "sending", "accepted", "accepted"]
    assert len(alerts_of(market, bad)) == 1 and submitted_twice() == []
    assert not desk.in_doubt.is_set(), "it is not tried at every turn"
    monkeypatch.setattr(market, "submit", submit)
    swept(market, desk)
    assert desk.in_doubt.is_set(), "but with every sweep"
    desk.resolve(everybody)
    assert state_of(bad) == "accepted" and submitted_twice() == []


def test_many_slow_questions_about_old_orders_do_not_keep_a_new_one_from_being_sent(market, portfolio, monkeypatch):
    desk = make_desk(market)
    old = [left_behind(market, limit(portfolio)) for _ in range(8)]
    unsent = limit(portfolio)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    desk.receive([unsent], NOW)
    clock, query = [0.0], market.query

    def slow(order_ids):
        clock[0] += 1.0
        return query(order_ids)

    monkeypatch.setattr(market, "query", slow)
    monkeypatch.setattr("market.engine.desk.time", SimpleNamespace(monotonic=lambda: clock[0]))
    desk.resolve(everybody)
    assert clock[0] > 5 and state_of(unsent) == "accepted" and not desk.in_doubt.is_set()
    market.asked = 0
    desk.resolve(everybody)
    assert market.asked == len(old) + 1, "what it could not tell about is asked apart from the others"


def test_the_button_does_not_wait_for_what_it_cannot_tell_about(market, portfolio):
    desk = make_desk(market)
    doubtful, working = left_behind(market, limit(portfolio)), limit(portfolio)
    desk.receive([working], NOW)
    desk.resolve(everybody)
    market.asked = 0
    assert desk.halt(everybody, NOW) == 1
    assert market.asked == 1 and state_of(working) == "cancelled"
    market.forgotten.clear()
    swept(market, desk)
    switch.turn(False, "operator")
    desk.resolve(everybody)
    assert desk.halt(everybody, NOW) == 0 and state_of(doubtful) == "cancelled"


@pytest.mark.parametrize("silent", [1, 4])
def test_the_button_cancels_the_others_where_the_broker_is_silent_about_some(market, portfolio, monkeypatch, silent):
    orders = [limit(portfolio) for _ in range(8)]
    desk = make_desk(market)
    desk.receive(orders, NOW)
    cancel, dead = market.cancel, {each.order_id for each in orders[-silent:]}

    def cancelling(order_id, *arguments):
        if order_id in dead:
            raise BrokerUnavailable("this venue is closed")
        return cancel(order_id, *arguments)

    monkeypatch.setattr(market, "cancel", cancelling)
    switch.turn(False, "operator")
    watch = SwitchWatch(desk, everybody, 0.2)
    for _ in range(3):
        watch.step(NOW)
    assert [state_of(each) for each in orders] == ["cancelled"] * (8 - silent) + ["accepted"] * silent
    assert all("does not answer its cancel" in alerts_of(market, each)[0] for each in orders[-1:])
    dead.clear()
    watch.step(NOW)
    assert {state_of(each) for each in orders} == {"cancelled"}


def test_one_whose_line_is_dead_is_no_broker_that_cannot_tell(market, portfolio):
    desk = make_desk(market)
    left_behind(market, submission(portfolio))
    market.forgotten.clear()
    market.fail_before["query"] = BrokerUnavailable("the line is dead")
    with pytest.raises(BrokerUnavailable):
        desk.resolve(everybody)
    assert market.alerts.raised == []
