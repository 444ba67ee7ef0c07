"""`ginkgo engine decide`: an operator says what became of an order of which the broker cannot tell (SPEC M2)."""

from __future__ import annotations

import io
import json
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from market.brokers.port import BrokerUnavailable
from market.engine.decisions import ended_by_hand
from market.engine.watch import BrokerWatch
from market.models import Fill, Order
from portfolios.models import Command
from tests.market.desk_support import (
    NOW,
    Market,
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


@pytest.fixture
def portfolio():
    return make_portfolio()


@pytest.fixture
def order(portfolio):
    """One that is in doubt."""
    market = Market()
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    order = submission(portfolio)
    make_desk(market).receive([order], NOW)
    return order


def decide(order, *words):
    call_command("engine", "decide", order.order_id, *words, "--yes")


def refusal(order, *words):
    with pytest.raises(CommandError) as refused:
        decide(order, *words)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_one_that_the_broker_never_had_is_cancelled_and_the_portfolio_told(portfolio, order, capsys):
    decide(order, "cancelled")
    assert events(portfolio) == ["cancelled"]
    assert told(portfolio)[0].reason == "the broker never had it"
    assert capsys.readouterr().out == f"Order {order.order_id} is cancelled: 0 of 100 filled.\n"


def test_one_that_was_refused_is_rejected_for_the_reason_given(portfolio, order):
    decide(order, "rejected", "--reason", "no margin")
    assert [(f.event_type, f.reason) for f in told(portfolio)] == [("order_rejected", "no margin")]


def test_one_that_works_is_accepted_and_then_filled_in_parts(portfolio, order):
    decide(order, "accepted")
    decide(order, "filled", "--price", "10.02", "--volume", "40", "--at", "2024-03-05T10:00:00+08:00")
    assert state_of(order) == "partially_filled"
    decide(order, "filled", "--price", "10", "--commission", "5", "--tax", "0.01", "--fill-id", "X-17")
    assert events(portfolio) == ["ack", "partially_filled", "filled"]
    first, second = Fill.objects.order_by("id")
    assert (first.volume, first.amount, first.fill_id) == (40, 40 * first.price, f"operator-{order.order_id}-0")
    assert first.commission == 5, "the least that the market's rules have"
    assert (second.volume, second.price, second.commission, second.fill_id) == (60, 10, 5, "X-17")
    assert float(second.tax) == 0.01


def test_what_was_not_filled_is_cancelled(portfolio, order):
    decide(order, "filled", "--price", "10", "--volume", "40")
    decide(order, "cancelled")
    assert events(portfolio) == ["ack", "partially_filled", "cancelled"]
    assert told(portfolio)[-1].reason == "ended at the broker"


def test_a_fill_that_the_broker_reports_after_all_is_known_by_its_id(portfolio):
    market = Market()
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    desk, order = make_desk(market), submission(portfolio)
    desk.receive([order], NOW)
    market.trade(10.0)
    (execution,) = market.query([order.order_id])[order.order_id].executions
    decide(order, "filled", "--price", "10.01", "--fill-id", execution.fill_id)
    desk.absorb([order.order_id])
    assert events(portfolio) == ["ack", "filled"] and submitted_twice() == []


@pytest.mark.parametrize("verdict", ["cancelled", "rejected"])
def test_an_order_that_was_called_lost_and_works_after_all_is_cancelled_at_the_broker(portfolio, verdict):
    market = Market()
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    desk, order = make_desk(market), submission(portfolio, order_type="limit", price=9.5)
    desk.receive([order], NOW)
    decide(order, verdict)
    market.alerts.raised.clear()
    engine = make_desk(market)  # one that has not followed it
    watch = BrokerWatch(market, engine, everybody, ended_by_hand)
    watch._next_sweep = 0.0
    watch.step(0)
    assert market.query([order.order_id])[order.order_id].state == "cancelled"
    assert events(portfolio) == [verdict]


def test_what_it_has_traded_by_then_is_booked(portfolio):
    market = Market()
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    desk, order = make_desk(market), submission(portfolio)
    desk.receive([order], NOW)
    decide(order, "cancelled")
    market.trade(10.0)
    market.news(0)
    watch = BrokerWatch(market, make_desk(market), everybody, ended_by_hand)
    watch._next_sweep = 0.0
    watch.step(0)
    assert events(portfolio) == ["cancelled", "filled"] and Fill.objects.count() == 1


def test_a_decision_that_cannot_be_written_down_is_not_booked(portfolio, order, monkeypatch):
    def full(**_):
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(Command.objects, "create", full)
    with pytest.raises((CommandError, OperationalError)):
        decide(order, "cancelled")
    assert state_of(order) == "sending" and events(portfolio) == []


def test_the_command_log_says_who_decided_what(order, capsys):
    decide(order, "filled", "--price", "10", "--json")
    assert json.loads(capsys.readouterr().out)["state"] == "filled"
    row = Command.objects.get(command_type="order.decide")
    assert (row.target_id, row.state, row.result) == (order.order_id, "done", "the order is filled")
    assert row.issued_by and row.params["price"] == 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("filled",), "needs its price"),
        (("filled", "--price", "0"), "0.0 is not a price"),
        (("filled", "--price", "10", "--volume", "101"), "100 of order"),
        (("cancelled", "--price", "10"), "nothing else has one"),
        (("accepted", "--volume", "10"), "--price"),
        (("rejected", "--at", "yesterday"), "--at must be"),
        (("rejected", "--at", "2024-03-05T10:00:00"), "zone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(portfolio, order, words, says):
    assert says in refusal(order, *words)
    assert state_of(order) == "sending" and events(portfolio) == []


def test_what_is_over_or_was_accepted_is_refused(portfolio, order):
    decide(order, "accepted")
    assert "was accepted before" in refusal(order, "rejected")
    decide(order, "cancelled")
    assert "is over" in refusal(order, "filled", "--price", "10")
    assert "there is no order" in refusal(submission(portfolio), "accepted")
    assert not Fill.objects.exists()


def test_what_cannot_be_taken_back_must_be_said_outright(order, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="--yes"):
        call_command("engine", "decide", order.order_id, "cancelled")
    assert Order.objects.get().state == "sending"
