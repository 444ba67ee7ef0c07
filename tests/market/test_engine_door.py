"""The engine's door: what comes straight from nodes is taken in as what comes by Kafka is, or not at all (SPEC M2)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from market import direct
from market.direct import Answer, Call
from market.engine.desk import Desk
from market.engine.door import Door
from market.engine.reception import Reception
from market.engine.threads import EngineThread
from market.messages import OrderMessage, decode_order
from market.models import EngineDoor, FencedMessage, LogDebt, Order
from nodes.direct_caller import Caller
from tests.market.desk_support import (
    NOW,
    Alerts,
    Market,
    cancel_of,
    events,
    make_desk,
    make_portfolio,
    state_of,
    submission,
    submitted_twice,
)
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@dataclass
class House:
    """An engine behind its door; `mine` are the portfolios of its partitions, `unclaimed` whether nobody knows."""

    name: str = "engine-1"
    market: Market = field(default_factory=Market)
    mine: set[str] | None = None
    unclaimed: bool = False
    alerts: Alerts = field(default_factory=Alerts)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.desk = make_desk(self.market)
        self.reception = Reception(self.desk, lambda pid: self.mine is None or pid in self.mine, lambda: self.unclaimed)
        self.door = Door(self.name, ("127.0.0.1", 0), self.reception, self.alerts, patience=0.5)
        self._thread = EngineThread("door", self.door.run)
        self._thread.start()
        eventually(EngineDoor.objects.filter(name=self.name).exists, timeout=10, saying="the door is known")

    def close(self) -> None:
        self._thread.stopping.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def ask(self, *messages: OrderMessage, key: bytes | None = None, anyone: bool = False) -> Answer:
        return direct.ask(self.door.address, key or direct.key(), Call(list(messages), anyone), 10)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def owed() -> list[OrderMessage]:
    return [decode_order(row.message.encode()) for row in LogDebt.objects.all()]


def test_an_order_goes_the_whole_way_to_the_broker_and_is_owed_to_the_log(house):
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert house.ask(order).outcomes == ["sending"]
    assert events(portfolio) == ["ack"]
    assert owed() == [order]


def test_the_same_order_by_kafka_and_straight_is_one_order_whichever_comes_first(house):
    portfolio = make_portfolio()
    early, late = submission(portfolio), submission(portfolio)
    house.desk.receive([early], NOW)
    assert house.ask(early, late).outcomes == ["repeated", "sending"]
    taken = house.desk.receive([late], NOW)
    assert [each.outcome for each in taken] == ["repeated"]
    assert Order.objects.count() == 2 and submitted_twice() == []
    assert owed() == [late]  # the other came by the log


def test_one_of_a_stale_owner_is_fenced_exactly_as_by_kafka(house):
    portfolio = make_portfolio()
    order, other = submission(portfolio, epoch=6), submission(portfolio, epoch=6)
    assert house.ask(order).outcomes == ["fenced"]
    house.desk.receive([other], NOW)
    by_door, by_kafka = FencedMessage.objects.order_by("id").values("epoch", "current_epoch", "portfolio_id")
    assert by_door == by_kafka
    assert [kind for kind, _ in house.market.alerts.raised] == ["order_fenced"] * 2
    assert Order.objects.count() == 0 and owed() == [] and events(portfolio) == []
    # It does not occupy the id: the new owner sends it.
    assert house.ask(submission(portfolio, cause=order.cause)).outcomes == ["sending"]


def test_a_cancel_leaves_its_tombstone_and_is_owed_too(house):
    portfolio = make_portfolio()
    order = submission(portfolio)
    cancel = cancel_of(order)
    assert house.ask(cancel).outcomes == ["awaited"]
    house.desk.receive([order], NOW)
    assert state_of(order) == "cancelled"
    assert owed() == [cancel]


def test_whoever_has_another_secret_is_refused_and_that_is_said(house):
    portfolio = make_portfolio()
    with pytest.raises(direct.Refused):
        house.ask(submission(portfolio), key=b"wrong" * 8)
    assert Order.objects.count() == 0
    assert house.door.refused == 1
    assert [kind for kind, _ in house.alerts.raised] == ["door_refused"]


def test_what_is_another_engines_is_left_to_it(house):
    mine, other = make_portfolio(), make_portfolio()
    house.mine = {mine.id}
    assert house.ask(submission(other), submission(mine), anyone=True).outcomes == ["elsewhere", "sending"]
    assert events(other) == []


def test_while_no_engine_is_known_to_have_it_anyone_takes_it_who_is_asked_so(house):
    order = submission(make_portfolio())
    house.mine, house.unclaimed = set(), True
    assert house.ask(order).outcomes == ["elsewhere"]
    assert house.ask(order, anyone=True).outcomes == ["sending"]


def test_who_hangs_holds_nobody_up_and_is_hung_up_on(house):
    hanging = [socket.create_connection(house.door.address) for _ in range(4)]
    assert house.ask(submission(make_portfolio())).outcomes == ["sending"]
    for each in hanging:
        each.settimeout(10)
        while each.recv(1000):
            pass  # until the door has ended it
        each.close()


def test_what_is_none_of_ours_is_not_answered_and_the_door_goes_on(house):
    with socket.create_connection(house.door.address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)
        stranger.settimeout(10)
        assert b"HTTP" not in stranger.recv(1000)
    assert house.ask(submission(make_portfolio())).outcomes == ["sending"]


def test_while_the_database_is_away_nothing_is_taken_in_and_that_is_the_answer(house, monkeypatch):
    order = submission(make_portfolio())

    def away(*_: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(house.desk._intake, "take", away)
    assert "database" in house.ask(order).fault
    monkeypatch.undo()
    assert house.ask(order).outcomes == ["sending"]


def test_one_that_cannot_be_taken_in_keeps_no_other_from_it(house, monkeypatch):
    portfolio = make_portfolio()
    bad, good = submission(portfolio), submission(portfolio)
    take = house.desk._intake.take

    def choosy(messages, *arguments):
        if bad in messages:
            raise IntegrityError("impossible")
        return take(messages, *arguments)

    monkeypatch.setattr(house.desk._intake, "take", choosy)
    assert house.ask(bad, good).outcomes == ["failed", "sending"]


def test_too_many_at_once_are_not_taken(house):
    portfolio = make_portfolio()
    with pytest.raises(direct.Unreachable):
        house.ask(*(submission(portfolio) for _ in range(direct.MOST_MESSAGES + 1)))
    assert Order.objects.count() == 0


def test_a_partition_is_given_back_only_when_what_is_being_sent_of_it_has_been_sent(house):
    """Else the next engine could find it unsent, and send it too."""
    portfolio = make_portfolio()
    entered, go_on, released = threading.Event(), threading.Event(), threading.Event()
    submit = house.market.submit

    def slow(tickets):
        entered.set()
        go_on.wait(10)
        return submit(tickets)

    house.market.submit = slow
    caller = threading.Thread(target=lambda: house.ask(submission(portfolio)))
    caller.start()
    assert entered.wait(10)

    def release() -> None:
        house.desk.release(lambda _: True)
        released.set()

    letting_go = threading.Thread(target=release)
    letting_go.start()
    assert not released.wait(0.1)
    go_on.set()
    assert released.wait(10)
    caller.join(10)
    letting_go.join(10)


# -- finding it --------------------------------------------------------------------------------------------------------


def test_a_node_finds_the_engine_whose_the_portfolio_is(house):
    portfolio, other = make_portfolio(), make_portfolio()
    second = House("engine-2", mine={other.id})
    house.mine = {portfolio.id}
    try:
        orders = [submission(portfolio), submission(other)]
        assert Caller()(orders) == {each.order_id: "sending" for each in orders}
        assert (house.reception.taken, second.reception.taken) == (1, 1)
    finally:
        second.close()


def test_an_engine_that_is_gone_is_passed_over(house):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    EngineDoor.objects.create(name="engine-0", host="127.0.0.1", port=port, opened_at=NOW)
    order = submission(make_portfolio())
    assert Caller()([order]) == {order.order_id: "sending"}


def test_a_door_that_keeps_its_caller_waiting_is_left_out_for_a_while(house, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # lets callers in and says nothing
        address = mute.getsockname()
        EngineDoor.objects.create(name="engine-0", host=address[0], port=address[1], opened_at=NOW)
        asked, ask = [], direct.ask

        def counted(door, *arguments):
            asked.append(door)
            return ask(door, *arguments)

        monkeypatch.setattr(direct, "ask", counted)
        portfolio, caller = make_portfolio(), Caller(patience=1.0)
        house.mine = set()  # so that every door is asked
        assert caller([submission(portfolio)]) == {}
        assert asked.count(address) == 1
        assert caller([submission(portfolio)]) == {}
        assert asked.count(address) == 1
        monkeypatch.setattr("nodes.direct_caller._LEFT_OUT", 0.0)
        caller._left_out.clear()
        caller([submission(portfolio)])
        caller([submission(portfolio)])
        assert asked.count(address) == 3, "and then tried again"


def test_an_engine_forgets_the_doors_of_those_that_have_long_gone(house):
    for name, days in (("killed", 2), ("neighbour", 0)):
        at = datetime.now(UTC) - timedelta(days=days)
        EngineDoor.objects.create(name=name, host="127.0.0.1", port=1, opened_at=at)
    house.door._say_at = 0.0
    eventually(lambda: not EngineDoor.objects.filter(name="killed").exists())
    assert EngineDoor.objects.filter(name="neighbour").exists()


def test_where_nobody_takes_it_nothing_is_said_to_be_taken():
    assert Caller()([submission(make_portfolio())]) == {}


def test_one_that_stops_is_not_called_any_more():
    House().close()
    assert not EngineDoor.objects.exists()
