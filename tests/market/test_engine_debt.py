"""What came straight is in the log once Kafka is back: every message, in its order, under the epoch of the day."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException, TopicPartition
from django.db import OperationalError

from market.bus import make_consumer, make_producer, partition_of
from market.engine.debt import Debt
from market.messages import OrderMessage, decode_order
from market.models import LogDebt
from market.topics import ORDERS_SUBMISSION
from portfolios.models import Assignment
from tests.market.desk_support import NOW, Market, cancel_of, everybody, make_desk, make_portfolio, submission

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture(scope="module")
def producer(topics):
    return make_producer("test-debt")


@pytest.fixture
def debt(producer):
    return Debt(producer, everybody, lambda: False)


def in_the_log(portfolio) -> list[OrderMessage]:
    """What stands there of this portfolio, in the partition of its key."""
    place = TopicPartition(ORDERS_SUBMISSION, partition_of(portfolio.id, 10), 0)
    consumer = make_consumer("test-debt-reader", **{"auto.offset.reset": "earliest"})
    try:
        end = consumer.get_watermark_offsets(place, timeout=20)[1]
        consumer.assign([place])
        found, at = [], 0
        while at < end:
            for message in consumer.consume(1000, 1.0):
                at = message.offset() + 1
                if message.key() == portfolio.id.encode():
                    found.append(decode_order(message.value()))
        return found
    finally:
        consumer.close()


def test_it_is_paid_once_word_for_word_but_for_the_epoch(debt):
    portfolio = make_portfolio()
    first, second = submission(portfolio), submission(portfolio)
    wish = cancel_of(second)
    make_desk(Market()).receive([first, second, wish], NOW, everybody)
    Assignment.objects.filter(portfolio=portfolio).update(epoch=9)
    assert debt.pay() == 3
    assert debt.pay() == 0
    assert [each.epoch for each in in_the_log(portfolio)] == [9] * 3
    assert [each.order_id for each in in_the_log(portfolio)] == [first.order_id, second.order_id, second.order_id]
    assert LogDebt.objects.count() == 0


def test_the_logs_copy_is_a_repetition_to_whatever_engine_reads_it(debt):
    portfolio, market = make_portfolio(), Market()
    make_desk(market).receive([submission(portfolio)], NOW, everybody)
    debt.pay()
    taken = make_desk(market).receive(in_the_log(portfolio), NOW)
    assert [each.outcome for each in taken] == ["repeated"]


def test_a_crash_before_it_is_marked_repeats_it_and_loses_nothing(debt, monkeypatch):
    portfolio = make_portfolio()
    make_desk(Market()).receive([submission(portfolio)], NOW, everybody)

    def gone():
        raise OperationalError("gone")

    monkeypatch.setattr("market.engine.debt.writing", gone)
    with pytest.raises(OperationalError):
        debt.pay()
    monkeypatch.undo()
    assert debt.pay() == 1
    assert len(in_the_log(portfolio)) == 2


def test_another_engines_debts_are_its_own(producer):
    portfolio = make_portfolio()
    make_desk(Market()).receive([submission(portfolio)], NOW, everybody)
    assert Debt(producer, lambda _: False, lambda: False).pay() == 0
    assert LogDebt.objects.count() == 1


def test_while_kafka_does_not_confirm_it_stands():
    nowhere = make_producer("test-debt-nowhere", **{"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 300})
    make_desk(Market()).receive([submission(make_portfolio())], NOW, everybody)
    with pytest.raises(KafkaException):
        Debt(nowhere, everybody, lambda: False).pay(5)
    assert LogDebt.objects.count() == 1
