"""What every broker must do for the engine to rely on it (SPEC M5), as a suite that a broker's author runs.

In a test file of your own, with a `Venue` for your broker (docs/writing-a-broker.md has a whole one):

    class TestMyBroker(Conformance):
        @pytest.fixture
        def venue(self): ...

`check(make_venue)` runs the same without pytest. Nothing here needs a database, Kafka or Django.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from market.brokers.port import Broker, CannotTell, Execution, Report, Ticket
from portfolios.kernel.money import UNIT
from portfolios.kernel.orders import Order

CASH = 1_000_000 * UNIT
"""What the account of a `Venue` begins with, in units."""

NEWS = 5.0
"""How long, in seconds, news may take at a venue."""

_STATES = ("working", "filled", "cancelled", "rejected")
_numbers = itertools.count(1)


class Venue(Protocol):
    """A broker and the market it trades in, as the tests command them; a new one for each test.

    `broker` is started, for an account of `portfolio_id` that has `CASH` and holds nothing; `code` is an instrument
    that costs about 10.
    """

    @property
    def broker(self) -> Broker: ...
    @property
    def portfolio_id(self) -> str: ...
    @property
    def code(self) -> str: ...

    def now(self) -> datetime:
        """The present of this market, with a time zone; it moves on with every trade."""

    def ticket(self, **changes: Any) -> Ticket:
        """A new order (see `ticket_of`): a buy of 100 `code` at the market, as things stand; `changes` are fields."""

    def trade(self, price: float, volume: int | None = None) -> None:
        """`code` trades at `price`, `volume` of it (None: as much as anybody wants); returns when the broker knows."""

    def next_session(self) -> None:
        """The session ends and the next one begins; returns when the broker knows."""

    def restart(self) -> None:
        """Our process dies and a new one connects: a new `broker` object, the same account. It has not been told what
        to follow."""

    def close(self) -> None:
        """After the test: stop what runs."""


def ticket_of(portfolio_id: str, code: str, at: datetime, market: str = "cn", **changes: Any) -> Ticket:
    """A new order under an id of its own: a buy of 100 `code` at the market, decided `at`."""
    fields: dict[str, Any] = {
        "order_id": str(uuid4()),
        "portfolio_id": portfolio_id,
        "code": code,
        "direction": 1,
        "order_type": "market",
        "volume": 100,
        "price": None,
        "cause": f"conformance:0:{next(_numbers)}:0",
        "timestamp": at,
    }
    return Ticket(Order(**{**fields, **changes}), market)


def check(make_venue: Callable[[], Venue], only: str = "test_") -> dict[str, str]:
    """Run the suite (`only`: the tests whose names begin so); what failed, by the name of the test.

    Nothing failed: the broker conforms.
    """
    failed: dict[str, str] = {}
    suite = Conformance()
    for name in (name for name in dir(suite) if name.startswith(only)):
        venue = make_venue()
        try:
            getattr(suite, name)(venue)
        except Exception as error:  # noqa: BLE001 (whatever a broker does instead of what it should is to be told)
            failed[name] = f"{type(error).__name__}: {error}"
        finally:
            venue.close()
    return failed


def _if_it_can_tell(test: Callable[[Any, Venue], None]) -> Callable[[Any, Venue], None]:
    """About orders of before a restart a broker may be unable to tell; then an operator decides what became of them."""

    @functools.wraps(test)
    def checked(suite: Any, venue: Venue) -> None:
        with suppress(CannotTell):
            test(suite, venue)

    return checked


class Conformance:
    """The tests. Subclass it beside a fixture `venue`."""

    # What it is ------------------------------------------------------------------------------------------------------

    def test_it_has_a_name_and_says_whether_it_follows_the_log(self, venue: Venue) -> None:
        broker = venue.broker
        assert isinstance(broker.name, str) and broker.name, "name must be a text"
        assert len(broker.name) <= 40, "name has at most 40 characters: it goes into the books"
        assert isinstance(broker.follows_the_log, bool), "follows_the_log must be True or False"
        assert broker.dead_thread() is None, "dead_thread must be None while all is well"

    @_if_it_can_tell
    def test_it_stops_in_time_and_working_orders_stay_working(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        began = time.monotonic()
        venue.broker.stop(0.5)
        assert time.monotonic() - began < 2, "stop(timeout) must return within its timeout"
        assert venue.broker.dead_thread() is None, "a thread that was asked to end has not died"
        venue.restart()
        assert _report(venue, ticket).state == "working", "a stop is no cancel"

    # Submitting ------------------------------------------------------------------------------------------------------

    def test_it_answers_orders_in_their_order_and_knows_them_from_then_on(self, venue: Venue) -> None:
        tickets = [_limit(venue) for _ in range(3)]
        ids = [_id(ticket) for ticket in tickets]
        reports = venue.broker.submit(tickets)
        assert [report.order_id for report in reports] == ids, "a report for each ticket, in their order"
        assert {report.state for report in reports} == {"working"}, f"new limit orders work: {reports}"
        known = venue.broker.query(ids)
        assert known == dict(zip(ids, reports, strict=True)), "query says what submit said"

    def test_the_same_id_is_executed_once_and_answered_with_what_is_known(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.broker.submit([ticket, replace(ticket)])
        venue.trade(10.0)
        (again,) = venue.broker.submit([ticket])
        venue.trade(10.0)
        assert again == _report(venue, ticket), "an id that is known is answered with what is known"
        assert again.filled == 100, f"100 were ordered, {again.filled} filled"
        assert _held(venue) == 100, f"the account must hold 100, and holds {_held(venue)}"

    def test_the_same_id_twice_in_one_call_is_one_order(self, venue: Venue) -> None:
        ticket = venue.ticket()
        reports = venue.broker.submit([ticket, ticket])
        assert [report.order_id for report in reports] == [_id(ticket)] * 2, "a report for each ticket"
        venue.trade(10.0)
        venue.trade(10.0)
        assert _held(venue) == 100, f"the account must hold 100, and holds {_held(venue)}"

    def test_the_same_id_is_known_after_a_restart(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.trade(10.0)
        venue.restart()
        (again,) = venue.broker.submit([ticket])
        venue.trade(10.0)
        assert again.filled == 100, "what was filled before a restart is known after it"
        assert _held(venue) == 100, f"the account must hold 100, and holds {_held(venue)}"

    def test_what_it_cannot_execute_it_rejects_with_a_reason(self, venue: Venue) -> None:
        ticket = replace(venue.ticket(), market="moon")
        (report,) = venue.broker.submit([ticket])
        assert report.state == "rejected", f"an order for an unknown market is rejected, not {report.state}"
        assert report.reason, "a rejection says why"
        _is_moment(report.ended_at)
        assert _report(venue, ticket) == report, "query says what submit said"

    # Asking ----------------------------------------------------------------------------------------------------------

    def test_an_order_that_it_never_received_is_missing_from_its_answer(self, venue: Venue) -> None:
        known, unknown = _limit(venue), venue.ticket()
        venue.broker.submit([known])
        found = venue.broker.query([_id(known), _id(unknown)])
        assert set(found) == {_id(known)}, (
            "an order that was never received is missing: a state, whatever it is, would keep it from being sent"
        )

    @_if_it_can_tell
    def test_orders_that_are_over_are_known_for_good(self, venue: Venue) -> None:
        filled, cancelled = venue.ticket(), _limit(venue)
        venue.broker.submit([filled, cancelled])
        venue.trade(10.0)
        venue.broker.cancel(_id(cancelled), venue.now(), "cancelled")
        venue.restart()
        found = venue.broker.query([_id(filled), _id(cancelled)])
        assert {order_id: report.state for order_id, report in found.items()} == {
            _id(filled): "filled",
            _id(cancelled): "cancelled",
        }

    def test_an_order_that_it_cannot_tell_about_hides_no_other(self, venue: Venue) -> None:
        old, new = _limit(venue), _limit(venue)
        venue.broker.submit([old])
        venue.restart()
        venue.broker.submit([new])
        try:
            found = venue.broker.query([_id(old), _id(new)])
        except CannotTell:
            found = venue.broker.query([_id(new)])
        assert _id(new) in found, "an order of this connection is known"
        with suppress(CannotTell):
            venue.broker.cancel(_id(old), venue.now(), "cancelled")
        venue.trade(9.0)
        assert _held(venue) == 100, "a cancel goes out, though it cannot be told what has become of the order"

    # Fills -----------------------------------------------------------------------------------------------------------

    def test_a_fill_is_news_and_the_report_has_it_whole(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        _drain(venue)
        venue.trade(10.0)
        _await_news(venue, ticket)
        report = _report(venue, ticket)
        assert (report.state, report.filled) == ("filled", 100), f"all of it is filled: {report}"
        for fill in report.executions:
            _is_sound(fill)
            assert 9 * UNIT < fill.price < 11 * UNIT, f"prices are in units of 0.0001: {fill.price} is not about 10"
            assert fill.timestamp >= ticket.order.timestamp, "a fill does not come before its order"

    def test_partial_fills_add_up_under_ids_of_their_own(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.trade(10.0, volume=30)
        part = _report(venue, ticket)
        assert (part.state, part.filled) == ("working", 30), f"30 of 100 are filled, the rest works: {part}"
        venue.trade(10.1, volume=50)
        venue.trade(10.2, volume=90)
        report = _report(venue, ticket)
        assert [fill.volume for fill in report.executions] == [30, 50, 20], (
            "each execution is one fill, with its own volume, in the order in which they came"
        )
        assert report.executions[:1] == part.executions, "a fill that was told never changes"
        assert len({fill.fill_id for fill in report.executions}) == 3, "each fill has an id of its own"
        assert report.state == "filled"

    @_if_it_can_tell
    def test_no_two_orders_share_a_fill_id(self, venue: Venue) -> None:
        first, second = venue.ticket(), venue.ticket()
        venue.broker.submit([first])
        venue.trade(10.0)
        before = [fill.fill_id for fill in _report(venue, first).executions]
        venue.restart()
        venue.broker.submit([second])
        venue.trade(10.0)
        after = [fill.fill_id for fill in _report(venue, second).executions]
        assert before and after and not {*before} & {*after}, (
            "a fill id is unique at this broker, over all orders and restarts"
        )
        assert [fill.fill_id for fill in _report(venue, first).executions] == before, "and stays that fill's"

    def test_a_limit_order_is_never_filled_beyond_its_price(self, venue: Venue) -> None:
        buy = venue.ticket(order_type="limit", price=9.8)
        venue.broker.submit([buy])
        venue.trade(9.9)
        assert _report(venue, buy).filled == 0, "9.90 is more than a buy at 9.80 may pay"
        venue.trade(9.8)
        report = _report(venue, buy)
        assert report.filled == 100, "at its price it is filled"
        assert all(fill.price <= 98_000 for fill in report.executions), "and never dearer"

    def test_a_sale_is_filled_too_and_holdings_are_the_cash_and_the_sum_of_the_fills(self, venue: Venue) -> None:
        buy = venue.ticket(volume=200)
        venue.broker.submit([buy])
        venue.trade(10.0)
        venue.next_session()  # what was bought today may not be sold today everywhere
        sell = venue.ticket(direction=-1)
        venue.broker.submit([sell])
        venue.trade(10.5)
        cash = CASH
        for ticket in (buy, sell):
            report = _report(venue, ticket)
            assert report.state == "filled", f"{ticket.order.direction:+d} is filled: {report}"
            for fill in report.executions:
                cash -= ticket.order.direction * fill.amount + fill.commission + fill.tax
        held = venue.broker.holdings([venue.portfolio_id])
        assert {code: volume for code, volume in held.positions.items() if volume} == {venue.code: 100}
        assert held.cash == cash, f"cash is what there was less what the fills cost: {held.cash}, not {cash}"

    # Cancelling ------------------------------------------------------------------------------------------------------

    def test_a_cancel_ends_a_working_order_for_good(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        report = venue.broker.cancel(_id(ticket), venue.now(), "cancelled")
        assert report is not None, "it knows this order"
        assert (report.state, report.reason) == ("cancelled", "cancelled"), f"cancelled, with our reason: {report}"
        _is_moment(report.ended_at)
        venue.trade(9.0)
        assert _report(venue, ticket) == report, "an order that was cancelled is not filled any more"
        assert venue.broker.cancel(_id(ticket), venue.now(), "again") == report, (
            "the first cancel is the one that counts"
        )

    @_if_it_can_tell
    def test_a_cancel_holds_after_a_restart(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        report = venue.broker.cancel(_id(ticket), venue.now(), "cancelled")
        venue.restart()
        venue.broker.follow([_id(ticket)])
        venue.trade(9.0)
        assert _report(venue, ticket) == report, "a cancel is not forgotten"

    def test_a_cancel_that_says_its_cause_ends_the_order_too(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        _drain(venue)
        report = venue.broker.cancel(_id(ticket), venue.now(), "cancelled", venue.ticket().order.cause)
        assert report is not None, "it knows this order"
        if report.state == "working":  # it first meets the prices up to the cause
            venue.trade(10.0)
            _await_news(venue, ticket)
        report = _report(venue, ticket)
        assert (report.state, report.reason) == ("cancelled", "cancelled"), f"cancelled, with our reason: {report}"
        venue.trade(9.0)
        assert _report(venue, ticket) == report, "an order that was cancelled is not filled any more"

    def test_a_cancel_keeps_what_was_filled_before(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.trade(10.0, volume=30)
        report = venue.broker.cancel(_id(ticket), venue.now(), "cancelled")
        assert report is not None and (report.state, report.filled) == ("cancelled", 30), f"30 were filled: {report}"

    def test_a_cancel_that_comes_too_late_says_how_it_ended(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.trade(10.0)
        report = venue.broker.cancel(_id(ticket), venue.now(), "cancelled")
        assert report is not None and (report.state, report.filled) == ("filled", 100), f"it was filled: {report}"

    def test_a_cancel_of_what_it_never_received_is_nothing(self, venue: Venue) -> None:
        unknown = _id(venue.ticket())
        assert venue.broker.cancel(unknown, venue.now(), "cancelled") is None, "None: never heard of it"
        assert venue.broker.query([unknown]) == {}, "and a cancel does not make it known"

    def test_an_order_ends_with_its_session(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        _drain(venue)
        venue.next_session()
        _await_news(venue, ticket)
        report = _report(venue, ticket)
        assert (report.state, report.reason) == ("cancelled", "expired"), f"it ends as expired: {report}"
        _is_moment(report.ended_at)

    # Restarts and news -----------------------------------------------------------------------------------------------

    @_if_it_can_tell
    def test_after_a_restart_it_knows_everything_and_goes_on(self, venue: Venue) -> None:
        ticket = _limit(venue)
        venue.broker.submit([ticket])
        venue.trade(9.5, volume=40)
        before = _report(venue, ticket)
        assert before.filled == 40
        venue.restart()
        assert _report(venue, ticket) == before, "every fill from before is there, word for word"
        venue.broker.follow([_id(ticket)])
        _drain(venue)
        venue.trade(9.5)
        _await_news(venue, ticket)
        assert _report(venue, ticket).filled == 100

    @_if_it_can_tell
    def test_what_happened_while_nobody_was_connected_is_known(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        venue.broker.unfollow([_id(ticket)])
        venue.trade(10.0)
        venue.restart()
        venue.broker.follow([_id(ticket)])
        venue.trade(10.0)
        assert _report(venue, ticket).filled == 100, "asking is always a way out"

    def test_without_news_it_returns_in_time_with_nothing(self, venue: Venue) -> None:
        _drain(venue)
        began = time.monotonic()
        assert venue.broker.news(0.05) == set(), "nothing has happened"
        assert time.monotonic() - began < 2, "news(timeout) must return when its time is over"

    def test_news_is_of_orders_and_told_once(self, venue: Venue) -> None:
        ticket, waiting = venue.ticket(), _limit(venue)
        venue.broker.submit([ticket, waiting])
        _drain(venue)
        venue.trade(10.0)
        told = _await_news(venue, ticket)
        assert told <= {_id(ticket), _id(waiting)}, f"news are ids of followed orders: {told}"
        _drain(venue)
        assert venue.broker.news(0.05) == set(), "what was told is not told again"

    def test_of_orders_that_are_another_engines_there_is_no_news(self, venue: Venue) -> None:
        ticket = venue.ticket()
        venue.broker.submit([ticket])
        _drain(venue)
        venue.broker.unfollow([_id(ticket)])
        venue.trade(10.0)
        assert venue.broker.news(0.05) == set(), "after unfollow nothing is told of it"

    # Prices ----------------------------------------------------------------------------------------------------------

    def test_it_tells_the_last_price_it_has_seen_or_none(self, venue: Venue) -> None:
        assert venue.broker.quote("000000.SZ") is None, "None, where it has seen no price"
        venue.broker.submit([venue.ticket()])
        venue.trade(10.2)
        quote = venue.broker.quote(venue.code)
        if quote is not None:  # a broker without prices of its own may always say None
            assert quote.price == 102_000, f"the last price in units of 0.0001: 102000, not {quote.price}"
            _is_moment(quote.timestamp)
        moment = venue.broker.moment(venue.code)
        if moment is not None:
            _is_moment(moment)


def _id(ticket: Ticket) -> str:
    return ticket.order.order_id


def _limit(venue: Venue) -> Ticket:
    """An order that does not trade at 10."""
    return venue.ticket(order_type="limit", price=9.5)


def _report(venue: Venue, ticket: Ticket) -> Report:
    found = venue.broker.query([_id(ticket)])
    assert _id(ticket) in found, "query does not know an order that was submitted"
    report = found[_id(ticket)]
    assert isinstance(report, Report) and report.state in _STATES, f"query answers with reports, not {report!r}"
    assert report.filled <= ticket.order.volume, f"{report.filled} of {ticket.order.volume} were filled"
    assert (report.state == "filled") == (report.filled == ticket.order.volume), f"filled is when all is: {report}"
    return report


def _held(venue: Venue) -> int:
    return venue.broker.holdings([venue.portfolio_id]).positions.get(venue.code, 0)


def _drain(venue: Venue) -> None:
    """Until there is no news left from before."""
    deadline = time.monotonic() + NEWS
    while venue.broker.news(0) and time.monotonic() < deadline:
        pass


def _await_news(venue: Venue, ticket: Ticket) -> set[str]:
    told: set[str] = set()
    deadline = time.monotonic() + NEWS
    while _id(ticket) not in told:
        left = deadline - time.monotonic()
        assert left > 0, "something happened to a followed order, and news does not tell"
        told |= venue.broker.news(left)
    return told


def _is_sound(fill: Execution) -> None:
    for name in ("volume", "price", "amount", "commission", "tax"):
        figure = getattr(fill, name)
        assert type(figure) is int and figure >= 0, f"{name} is a whole number, money in units of 0.0001: {figure!r}"
    assert fill.volume > 0, "a fill has a volume"
    assert abs(fill.amount - fill.price * fill.volume) <= fill.volume, "amount is price times volume (for shares)"
    assert isinstance(fill.fill_id, str) and 0 < len(fill.fill_id) <= 64, "fill_id is a text of at most 64 characters"
    _is_moment(fill.timestamp)


def _is_moment(at: Any) -> None:
    assert isinstance(at, datetime) and at.tzinfo is not None, f"a moment with a time zone, not {at!r}"
