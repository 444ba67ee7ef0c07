"""What every broker must do for the engine to rely on it (SPEC M5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portfolios.kernel.money import UNIT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def report_of(venue, ticket):
    return venue.broker.query([ticket.order.order_id])[ticket.order.order_id]


def test_it_answers_orders_in_their_order_and_knows_them_from_then_on(venue):
    tickets = [venue.ticket(order_type="limit", price=9.5) for _ in range(3)]
    reports = venue.broker.submit(tickets)
    ids = [ticket.order.order_id for ticket in tickets]
    assert [report.order_id for report in reports] == ids
    assert {report.state for report in reports} == {"working"}
    assert venue.broker.query(ids) == dict(zip(ids, reports, strict=True))


def test_an_order_that_it_never_received_is_missing_from_its_answer(venue):
    assert venue.broker.query([venue.ticket().order.order_id]) == {}


def test_a_fill_is_news_and_the_report_has_it_whole(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.broker.news(0)
    venue.trade(10.0)
    assert ticket.order.order_id in venue.broker.news(5)
    report = report_of(venue, ticket)
    (fill,) = report.executions
    assert (report.state, report.filled, fill.volume) == ("filled", 100, 100)
    assert fill.amount == fill.price * 100 and fill.price >= 10 * UNIT
    assert fill.commission >= 0 and fill.tax >= 0 and fill.timestamp > ticket.order.timestamp


def test_without_news_it_returns_in_time_with_nothing(venue):
    assert venue.broker.news(0.01) == set()


def test_partial_fills_add_up_under_ids_of_their_own(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.trade(10.0, volume=30)
    assert (report_of(venue, ticket).state, report_of(venue, ticket).filled) == ("working", 30)
    venue.trade(10.1, volume=50)
    venue.trade(10.2, volume=90)
    report = report_of(venue, ticket)
    assert [fill.volume for fill in report.executions] == [30, 50, 20]
    assert len({fill.fill_id for fill in report.executions}) == 3
    assert report.state == "filled"


def test_a_limit_order_is_never_filled_beyond_its_price(venue):
    buy = venue.ticket(order_type="limit", price=9.8)
    venue.broker.submit([buy])
    venue.trade(9.9)
    assert report_of(venue, buy).filled == 0
    venue.trade(9.8)
    assert report_of(venue, buy).executions[0].price == 98_000


def test_the_same_id_is_executed_once_and_answered_with_what_is_known(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.broker.submit([ticket, replace(ticket)])
    venue.trade(10.0)
    (again,) = venue.broker.submit([ticket])
    venue.trade(10.0)
    assert again == report_of(venue, ticket) and again.filled == 100
    assert venue.broker.holdings(venue.portfolio_id).positions == {venue.code: 100}


def test_a_cancel_ends_a_working_order_for_good(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    report = venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled")
    assert (report.state, report.reason, report.ended_at) == ("cancelled", "cancelled", venue.feed.now)
    venue.trade(9.0)
    assert report_of(venue, ticket) == report
    assert venue.broker.cancel(ticket.order.order_id, venue.feed.now, "again") == report


def test_a_cancel_keeps_what_was_filled_before(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.trade(10.0, volume=30)
    report = venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled")
    assert (report.state, report.filled) == ("cancelled", 30)


def test_a_cancel_that_comes_too_late_says_how_it_ended(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.trade(10.0)
    assert venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled").state == "filled"


def test_a_cancel_of_what_it_never_received_is_nothing(venue):
    assert venue.broker.cancel(venue.ticket().order.order_id, venue.feed.now, "cancelled") is None


def test_an_order_ends_with_its_session(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    venue.next_session()
    report = report_of(venue, ticket)
    assert (report.state, report.reason) == ("cancelled", "expired") and report.ended_at is not None


def test_what_it_cannot_execute_it_rejects_with_a_reason(venue):
    ticket = replace(venue.ticket(), market="moon")
    (report,) = venue.broker.submit([ticket])
    assert report.state == "rejected" and report.reason and report.ended_at is not None
    assert report_of(venue, ticket) == report


def test_after_a_reconnect_it_knows_everything_and_goes_on(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    venue.trade(9.5, volume=40)
    before = report_of(venue, ticket)
    venue.restart()
    assert report_of(venue, ticket) == before
    venue.broker.follow([ticket.order.order_id])
    venue.trade(9.5)
    assert ticket.order.order_id in venue.broker.news(5)
    assert report_of(venue, ticket).filled == 100


def test_of_orders_that_are_another_engines_there_is_no_news(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.broker.news(0)
    venue.broker.unfollow([ticket.order.order_id])
    venue.trade(10.0)
    assert venue.broker.news(0) == set()


def test_holdings_are_the_cash_and_the_sum_of_the_fills(venue):
    buy = venue.ticket(volume=200)
    venue.broker.submit([buy])
    venue.trade(10.0)
    sell = venue.ticket(direction=-1)
    venue.broker.submit([sell])
    venue.trade(10.5)
    held = venue.broker.holdings(venue.portfolio_id)
    cash = 1_000_000 * UNIT
    for ticket in (buy, sell):
        for fill in report_of(venue, ticket).executions:
            cash -= ticket.order.direction * fill.amount + fill.commission + fill.tax
    assert (held.cash, held.positions) == (cash, {venue.code: 100})


def test_it_tells_the_last_price_it_has_seen_or_none(venue):
    assert venue.broker.quote("000001.SZ") is None
    venue.broker.submit([venue.ticket()])
    venue.trade(10.2)
    quote = venue.broker.quote(venue.code)
    assert quote is not None and quote.price == 102_000
    assert venue.broker.moment(venue.code) is not None
