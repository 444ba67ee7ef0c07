"""The simulated exchange fills the same, however late an order comes and however often it dies (SPEC M4)."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException

from market.brokers import book, exchange, tape
from market.bus import make_consumer
from market.models import BrokerFill, BrokerOrder
from market.topics import ORDERS_FEEDBACK, market_topic
from tests.market.brokers.venue import SimulatedVenue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def venue(topics, transactional_db):
    venue = SimulatedVenue()
    yield venue
    venue.close()


def fills(ticket) -> list[tuple[str, int, int]]:
    rows = BrokerFill.objects.filter(order_id=ticket.order.order_id).order_by("number")
    return [(row.fill_id, row.volume, int(row.price * 10_000)) for row in rows]


def prices(ticket) -> list[float]:
    return [price / 10_000 for _, _, price in fills(ticket)]


def test_an_order_never_meets_its_cause_but_the_first_tick_after_it(venue):
    cause = venue.feed.tick(venue.code, 10.0, prev_close=10.0)
    ticket = venue.ticket(cause)
    venue.broker.submit([ticket])
    venue.pump()
    assert fills(ticket) == []
    venue.trade(10.2)
    venue.trade(10.4)
    assert prices(ticket) == [10.22]


@pytest.mark.parametrize("read_meanwhile", [True, False])
def test_an_order_that_comes_late_is_filled_as_if_it_had_come_at_once(venue, read_meanwhile):
    if read_meanwhile:
        venue.broker.submit([venue.ticket(order_type="limit", price=9.1)])  # the partition is being read
    cause = venue.feed.tick(venue.code, 10.0, prev_close=10.0)
    ticket = venue.ticket(cause)
    for step in range(20):
        venue.feed.tick(venue.code, 10.0 + step / 100, volume=30, prev_close=10.0)
    if read_meanwhile:
        venue.pump()
    venue.broker.submit([ticket])
    venue.pump()
    assert prices(ticket) == [10.01, 10.03, 10.04, 10.05]


def test_an_order_later_than_what_is_kept_moves_the_partition_back(venue, monkeypatch):
    monkeypatch.setattr(tape, "_KEPT", 3)
    venue.restart()
    waiting = venue.ticket(order_type="limit", price=9.1)
    venue.broker.submit([waiting])
    cause = venue.feed.tick(venue.code, 10.0, prev_close=10.0)
    late = venue.ticket(cause, at=venue.feed.now)
    for step in range(10):
        venue.trade(10.1 + step / 100)
    venue.broker.submit([late])
    venue.pump()
    assert prices(late) == [10.12]
    venue.trade(9.1)
    assert prices(waiting) == [9.1]


def test_dying_after_every_tick_changes_no_fill(venue):
    cause = venue.feed.tick(venue.code, 10.0, prev_close=10.0)
    steady, restless = venue.ticket(cause), venue.ticket(cause)
    venue.broker.submit([steady])
    venue.broker.submit([restless])
    venue.broker.unfollow([steady.order.order_id])
    for step in range(5):
        venue.trade(10.0 + step / 100, volume=25)
        venue.restart()
        venue.broker.follow([restless.order.order_id])
        venue.pump()
    venue.broker.follow([steady.order.order_id])
    venue.pump()
    assert [f[1:] for f in fills(restless)] == [f[1:] for f in fills(steady)]
    assert sum(volume for _, volume, _ in fills(steady)) == 100


def test_a_crash_before_the_commit_gives_the_same_fills_after_it(venue, monkeypatch):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    with monkeypatch.context() as crash:

        def die(_):
            raise RuntimeError("here the process dies")

        crash.setattr(book, "change", die)
        with pytest.raises(RuntimeError):
            venue.trade(10.2)
    venue.feed.tick(venue.code, 10.4, prev_close=10.0)
    venue.restart()
    venue.broker.follow([ticket.order.order_id])
    venue.pump()
    assert prices(ticket) == [10.22]


def test_a_client_that_finds_no_leader_any_more_is_replaced_and_nothing_is_missed(venue, monkeypatch):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.feed.tick(venue.code, 10.2, prev_close=10.0)
    stop, made = threading.Event(), []

    def make(gap):
        made.append(tape.Tape(make_consumer("test-exchange"), gap))
        if len(made) == 1:
            monkeypatch.setattr(made[0], "poll", lost)
        return made[-1]

    def lost(timeout):
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))

    monkeypatch.setattr(exchange, "_BACK_OFF", (0.0,))
    monkeypatch.setattr(venue.broker._exchange, "_make_tape", make)
    monkeypatch.setattr(venue.broker._exchange, "_notify", lambda _: stop.set())
    venue.broker._exchange.run(stop)
    assert len(made) == 2
    assert prices(ticket) == [10.22]


def test_two_engines_that_match_the_same_order_fill_it_once(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    other = SimulatedVenue()
    other.broker.follow([ticket.order.order_id])
    for step in range(4):
        venue.feed.tick(venue.code, 10.0 + step / 100, volume=25, prev_close=10.0)
        first, second = (venue, other) if step % 2 else (other, venue)
        first.pump()
        second.pump()
    other.close()
    assert [volume for _, volume, _ in fills(ticket)] == [25, 25, 25, 25]
    assert BrokerOrder.objects.get(order_id=ticket.order.order_id).state == "filled"


def test_where_the_cause_is_feedback_the_first_later_tick_by_event_time_counts(venue):
    at = venue.feed.now
    ticket = venue.ticket(f"{ORDERS_FEEDBACK}:0:5", at=at)
    venue.feed.tick(venue.code, 10.1, seconds=0, prev_close=10.0)  # not later than the cause
    venue.feed.tick(venue.code, 10.2, prev_close=10.0)
    venue.feed.tick(venue.code, 10.3, prev_close=10.0)
    venue.broker.submit([ticket])
    venue.pump()
    assert prices(ticket) == [10.22]


def test_such_an_order_looks_as_far_back_as_it_must(venue, monkeypatch):
    monkeypatch.setattr(tape, "_LOOK_BACK", timedelta(milliseconds=1))
    at = venue.feed.now
    for step in range(30):
        venue.feed.tick(venue.code, 10.2 + step / 100, prev_close=10.0)
    ticket = venue.ticket(f"{ORDERS_FEEDBACK}:0:5", at=at)
    venue.broker.submit([ticket])
    venue.pump()
    assert prices(ticket) == [10.22]


def test_a_poisoned_tick_is_alerted_and_passed_over(venue):
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.feed.write(market_topic(venue.code), venue.code, b"{not json")
    venue.trade(10.2)
    assert prices(ticket) == [10.22]
    assert [kind for kind, _ in venue.alerts.raised] == ["data_anomaly"]


def test_a_cause_beyond_the_logs_end_is_alerted_and_the_order_goes_on_from_there(venue):
    topic, partition, _ = venue.feed.tick(venue.code, 10.0, prev_close=10.0).rsplit(":", 2)
    ticket = venue.ticket(f"{topic}:{partition}:999999999")
    venue.broker.submit([ticket])
    venue.pump()
    assert [kind for kind, _ in venue.alerts.raised] == ["data_gap"]
    venue.trade(10.2)
    assert prices(ticket) == [10.22]


def test_the_cursor_of_an_order_that_waits_is_saved(venue):
    ticket = venue.ticket(order_type="limit", price=9.1)
    venue.broker.submit([ticket])
    before = BrokerOrder.objects.get().resting
    venue.broker._exchange._next_save = float("inf")
    venue.trade(10.0)
    assert BrokerOrder.objects.get().resting == before
    venue.broker._exchange._next_save = 0
    venue.pump()
    assert BrokerOrder.objects.get().resting != before


def test_a_partition_in_which_nothing_waits_is_left(venue, monkeypatch):
    monkeypatch.setattr("market.brokers.exchange._LINGER", 0)
    ticket = venue.ticket()
    venue.broker.submit([ticket])
    venue.trade(10.0)
    for _ in range(3):
        venue.broker._exchange._next_save = 0
        venue.pump()
    assert venue._tape.places == set()
    again = venue.ticket()
    venue.broker.submit([again])
    venue.trade(10.2)
    assert prices(again) == [10.22]


def test_limits_follow_from_the_last_price_of_the_session_before_where_no_close_is_given(venue):
    venue.feed.now = venue.feed.now.replace(hour=7)
    cause = venue.feed.tick(venue.code, 10.0, seconds=0, prev_close=None)
    ticket = venue.ticket(cause)
    venue.broker.submit([ticket])
    venue.feed.now += timedelta(hours=19)
    venue.feed.tick(venue.code, 11.0, prev_close=None)  # at the limit: nobody sells
    venue.feed.tick(venue.code, 10.9, prev_close=None)
    venue.pump()
    assert prices(ticket) == [10.92]


def test_a_cancel_ends_an_order_after_the_tick_that_caused_it_though_it_comes_before_it_is_read(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    venue.pump()
    venue.broker.news(0)
    cause = venue.feed.tick(venue.code, 9.5, volume=40, prev_close=10.0)
    venue.feed.tick(venue.code, 9.4, prev_close=10.0)
    report = venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled", f"{cause}:0")
    assert report.state == "working"
    venue.pump()
    assert ticket.order.order_id in venue.broker.news(1)
    report = venue.broker.query([ticket.order.order_id])[ticket.order.order_id]
    assert (report.state, report.filled, report.ended_at) == ("cancelled", 40, venue.feed.now)
    assert report.seen == cause


def test_a_cancel_caused_elsewhere_ends_an_order_after_what_was_in_the_log_when_it_came(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    venue.feed.tick(venue.code, 9.5, volume=40, prev_close=10.0)
    venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled", f"{ORDERS_FEEDBACK}:0:5:0")
    venue.pump()
    venue.trade(9.4)
    report = venue.broker.query([ticket.order.order_id])[ticket.order.order_id]
    assert (report.state, report.filled) == ("cancelled", 40)


def test_a_cancel_of_an_order_that_nobody_follows_any_more_is_carried_out(venue):
    ticket = venue.ticket(order_type="limit", price=9.5)
    venue.broker.submit([ticket])
    venue.broker.unfollow([ticket.order.order_id])
    cause = venue.feed.tick(venue.code, 10.0, prev_close=10.0)
    venue.broker.cancel(ticket.order.order_id, venue.feed.now, "cancelled", f"{cause}:0")
    venue.pump()
    assert venue.broker.query([ticket.order.order_id])[ticket.order.order_id].state == "cancelled"
