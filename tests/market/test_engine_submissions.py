"""A submission is never skipped while a server is away, and none stops the others (SPEC M2)."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from django.db import IntegrityError, OperationalError

from market.brokers.port import BrokerUnavailable
from market.submissions import Partitions, Submissions
from tests.market.desk_support import (
    NOW,
    Alerts,
    Died,
    Market,
    everybody,
    make_desk,
    make_portfolio,
    state_of,
    submission,
    submitted_twice,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def desk():
    return make_desk(Market())


@pytest.fixture
def alerts():
    return Alerts()


@pytest.fixture
def submissions(desk, alerts, monkeypatch):
    monkeypatch.setattr("market.submissions._BACK_OFF", (0.0,))
    return Submissions(lambda: None, desk, Partitions(), alerts)


def failing(desk, monkeypatch, faults):
    """`desk.receive` raises each of `faults` (None: not) in turn, then works."""
    receive = desk.receive

    def sometimes(messages, now):
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault
        return receive(messages, now)

    monkeypatch.setattr(desk, "receive", sometimes)


def test_while_the_database_is_away_the_batch_waits(submissions, desk, alerts, monkeypatch):
    order = submission(make_portfolio())
    failing(desk, monkeypatch, [OperationalError("gone"), BrokerUnavailable("gone"), OperationalError("still gone")])
    assert submissions._take_in([order], threading.Event())
    assert state_of(order) == "accepted"
    assert {kind for kind, _ in alerts.raised} == {"component_error"}


def test_a_stop_ends_the_waiting_and_nothing_counts_as_taken_in(submissions, desk, monkeypatch):
    stop = threading.Event()
    stop.set()
    failing(desk, monkeypatch, [OperationalError("gone")] * 3)
    assert not submissions._take_in([submission(make_portfolio())], stop)


@pytest.mark.parametrize("fault", [IntegrityError("impossible"), ZeroDivisionError("a defect of ours")])
def test_a_message_that_makes_it_fail_is_alerted_and_the_others_are_taken_in(
    submissions, desk, alerts, monkeypatch, fault
):
    portfolio = make_portfolio()
    orders = [submission(portfolio) for _ in range(3)]
    failing(desk, monkeypatch, [fault, None, fault])  # all three at once, then the second of them
    assert submissions._take_in(orders, threading.Event())
    assert [state_of(each) for each in (orders[0], orders[2])] == ["accepted", "accepted"]
    assert [orders[1].order_id in message for _, message in alerts.raised] == [True]


class Deaf:
    """A client as it is after the group's coordinator was away: it has the partitions, and reads no more."""

    def __init__(self, then=lambda: None):
        self.closed, self._then = False, then

    def subscribe(self, topics, **callbacks):
        self._then()

    def poll(self, timeout):
        return Said(KafkaError(KafkaError.NOT_COORDINATOR))

    def consume(self, count, timeout):
        return []

    def close(self):
        self.closed = True


class Said:
    def __init__(self, error):
        self.error = lambda: error


def test_a_client_that_cannot_read_any_more_is_replaced(desk, alerts, monkeypatch):
    monkeypatch.setattr("market.submissions._RECOVERY", 0.0)
    stop = threading.Event()
    first, second = Deaf(), Deaf(then=stop.set)
    clients = iter([first, second])
    submissions = Submissions(lambda: next(clients), desk, Partitions(), alerts)
    submissions.run(stop)
    assert first.closed and not second.closed
    assert submissions._consumer is second


def test_portfolios_are_an_engines_by_the_partition_of_their_id():
    mine = Partitions()
    ids = [f"portfolio-{n}" for n in range(50)]
    assert not any(map(mine, ids))
    mine.become(frozenset(range(10)), 10)
    assert all(map(mine, ids))
    mine.keep(frozenset({1, 2}))
    lost = mine.only(frozenset(range(3, 10)) | {0})
    assert all(mine(each) != lost(each) for each in ids)


def test_whose_they_are_is_unknown_until_the_group_says_so_and_again_when_it_is_away():
    """Ten seconds after Kafka has gone the group's session ends: nobody else can have its partitions then."""
    mine = Partitions()
    assert mine.unknown
    mine.become(frozenset({0}), 1)
    assert not mine.unknown and mine("p")
    mine.lose()
    assert mine.unknown and not mine("p")
    mine.become(frozenset(), 1)
    assert not mine.unknown


def test_an_engine_that_loses_its_partitions_serves_nobody_as_its_own_and_looks_after_everybody(submissions, desk):
    released = []
    desk.release = released.append
    partitions = [SimpleNamespace(partition=0)]
    submissions._on_assign(None, partitions)
    submissions._mine.become(frozenset({0}), 1)
    submissions._on_lost(None, partitions)
    assert submissions._mine.unknown
    assert not submissions._mine("p")
    assert submissions._mine.cares_for("p")
    assert released == [], "what works stays in sight: nobody else is known to look after it"


def test_an_engine_looks_after_its_own_alone_when_the_group_has_spoken():
    mine = Partitions()
    assert mine.cares_for("p"), "since its start nobody has said whose they are"
    mine.become(frozenset({0}), 1)
    assert mine.cares_for("p")
    mine.become(frozenset(), 1)
    assert not mine.cares_for("p")


def test_one_that_gives_all_back_lets_them_go_and_does_not_know_whose_they_are_until_the_group_deals_anew(
    submissions, desk
):
    """Should Kafka go in the midst of it, nobody ever says."""
    released = []
    desk.release = released.append
    submissions._on_assign(None, [SimpleNamespace(partition=0)])
    submissions._mine.become(frozenset({0}), 1)
    submissions._on_revoke(Quiet(), [SimpleNamespace(partition=0)])
    assert released[0]("p")
    assert submissions._mine.unknown and not submissions._mine("p")


class Quiet:
    """A client that hears nothing; of one topic with one partition."""

    def poll(self, timeout):
        return None

    def commit(self, asynchronous):
        pass

    def list_topics(self, topic, timeout):
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None})})


@pytest.fixture
def market():
    return Market()


@pytest.fixture
def lost(market, alerts, monkeypatch):
    """The reader of an engine that has lost its partitions with Kafka."""
    monkeypatch.setattr("market.submissions._BACK_OFF", (0.0,))
    mine = Partitions()
    lost = Submissions(lambda: None, make_desk(market, sole=mine), mine, alerts)
    mine.become(frozenset({0}), 1)
    lost._on_lost(None, [SimpleNamespace(partition=0)])
    return lost


def test_without_partitions_a_straight_order_that_the_broker_may_not_have_is_asked_about_when_it_is_back(lost, market):
    heard, unheard = (submission(make_portfolio()) for _ in range(2))
    market.fail_after["submit"] = BrokerUnavailable("the line is dead")
    lost._desk.receive([heard], NOW, everybody)
    market.fail_before["submit"] = BrokerUnavailable("the line is dead")
    lost._desk.receive([unheard], NOW, everybody)
    market.fail_before["query"] = BrokerUnavailable("still dead")
    lost.step(Quiet(), threading.Event())
    assert [state_of(each) for each in (heard, unheard)] == ["accepted", "accepted"]
    assert submitted_twice() == []


def test_without_partitions_for_long_it_asks_about_what_a_dead_engine_left(lost, market, monkeypatch):
    order = submission(make_portfolio())
    market.fail_after["submit"] = Died()
    with pytest.raises(Died):
        make_desk(market).receive([order], NOW)
    lost.step(Quiet(), threading.Event())
    assert state_of(order) == "sending", "the group may be about to say whose they are"
    lost._next_look = 0.0
    lost.step(Quiet(), threading.Event())
    assert state_of(order) == "accepted"
    assert market.followed == {order.order_id}


def test_what_it_looked_after_is_let_go_once_the_group_has_said_that_it_is_anothers(lost, market):
    order = submission(make_portfolio(), order_type="limit", price=9.5)
    lost._desk.receive([order], NOW, everybody)
    market.unfollowed.clear()
    lost._on_assign(None, [])
    lost.step(Quiet(), threading.Event())
    assert not lost._mine.cares_for(order.portfolio_id)
    assert market.unfollowed == {order.order_id}
