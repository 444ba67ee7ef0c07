from __future__ import annotations

import json

import pytest

from nodes.lease import Lease
from nodes.sender import Sender
from portfolios.kernel.orders import Cancel, Intent, Order
from tests.nodes.support import MORNING, Clock, KeepingProducer

ORDER = Order(
    order_id="o1", portfolio_id="p1", code="600519.SH", direction=1, order_type="market", volume=100, price=None,
    cause="t:0:1:0", timestamp=MORNING,
)  # fmt: skip
CANCEL = Cancel(cancel_id="c1", order_id="o1", portfolio_id="p1", cause="t:0:2:0", timestamp=MORNING)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    lease = Lease(30, clock)
    lease.renew(clock.now)
    return lease


@pytest.fixture
def producer() -> KeepingProducer:
    return KeepingProducer()


@pytest.fixture
def sender(producer: KeepingProducer, lease: Lease) -> Sender:
    return Sender(producer, lease)  # type: ignore[arg-type]


def ignore(_intent: Intent) -> None: ...


def test_orders_and_cancels_go_in_order_under_their_portfolios_key(sender: Sender, producer: KeepingProducer) -> None:
    assert sender.send([ORDER, CANCEL], 7, ignore, sender.term)
    assert [(topic, key) for topic, key, _ in producer.messages] == [("ginkgo.live.orders.submission", "p1")] * 2
    order, cancel = (json.loads(value) for _, _, value in producer.messages)
    assert (order["event_type"], order["order_id"], order["epoch"]) == ("order_submission", "o1", 7)
    assert (cancel["event_type"], cancel["cancel_id"], cancel["order_id"]) == ("order_cancel", "c1", "o1")
    assert sender.sent == 2


def test_a_resend_is_the_same_message_but_for_the_epoch(sender: Sender, producer: KeepingProducer) -> None:
    sender.send([ORDER], 7, ignore, sender.term)
    sender.send([ORDER], 8, ignore, sender.term)
    first, second = (json.loads(value) for _, _, value in producer.messages)
    assert {**first, "epoch": 8} == second


def test_past_the_lease_nothing_is_sent(sender: Sender, producer: KeepingProducer, clock: Clock) -> None:
    clock.now += 26
    assert not sender.send([ORDER], 7, ignore, sender.term)
    assert producer.messages == []


def test_what_was_ours_before_the_lease_was_over_is_not_sent_after_it(
    sender: Sender, producer: KeepingProducer, lease: Lease, clock: Clock
) -> None:
    term = sender.term
    clock.now += 26  # frozen; meanwhile somebody else may have become the owner
    lease.renew(clock.now)
    assert not sender.send([ORDER], 7, ignore, term)
    assert producer.messages == []


def test_a_delivery_that_fails_is_told(sender: Sender, producer: KeepingProducer) -> None:
    failed: list[Intent] = []
    producer.error = RuntimeError("timed out")
    sender.send([ORDER], 7, failed.append, sender.term)
    assert failed == [ORDER]
    assert (sender.sent, sender.failed) == (0, 1)


def test_a_full_queue_is_a_delivery_that_failed(sender: Sender, producer: KeepingProducer) -> None:
    failed: list[Intent] = []
    producer.full = True
    assert sender.send([ORDER], 7, failed.append, sender.term)
    assert failed == [ORDER]
    assert sender.failed == 1


def test_closing_waits_for_what_is_on_its_way(sender: Sender, producer: KeepingProducer) -> None:
    sender.send([ORDER], 7, ignore, sender.term)
    assert sender.close(1.0) == 0
    sender.poll()
    assert sender.sent == 1
