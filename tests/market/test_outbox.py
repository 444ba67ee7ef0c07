"""Every answer reaches Kafka at least once, a portfolio's in the order of their numbers (SPEC M2)."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException
from django.db import OperationalError

from market.bus import make_producer, partition_of
from market.engine.feedback import Answers, tell_again
from market.engine.transactions import writing
from market.models import Order, OutboxMessage
from market.outbox import Outbox, _in_order
from tests.market.desk_support import MORNING, NOW, everybody, make_portfolio, submission
from tests.market.log_support import FeedbackReader
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def tell(portfolio, times=1) -> str:
    """Answers in the outbox about one order; its id."""
    message = submission(portfolio)
    order = Order(
        order_id=message.order_id, portfolio=portfolio, epoch=1, code=message.code, direction=1, order_type="market",
        volume=100, cause=message.cause, event_time=MORNING, received_at=NOW, state="rejected",
    )  # fmt: skip
    with writing():
        answers = Answers([portfolio.id])
        for _ in range(times):
            answers.tell(order, "order_rejected", MORNING, reason="test")
        answers.save()
    return order.order_id


@pytest.fixture
def reader(topics):
    reader = FeedbackReader()
    yield reader
    reader.close()


@pytest.fixture
def outbox(topics):
    return Outbox(make_producer("test-outbox"), everybody)


def numbers(reader, portfolio) -> list[int]:
    return [f.pseq for _, f in reader.read() if f.portfolio_id == portfolio.id]


def unpublished() -> int:
    return OutboxMessage.objects.filter(published=False).count()


def test_answers_are_published_in_order_to_their_portfolios_partition_and_marked(reader, outbox):
    one, other = make_portfolio(), make_portfolio()
    for _ in range(3):
        tell(one, 2)
        tell(other)
    assert outbox.publish() == 9
    eventually(lambda: len(reader.read()) >= 9, timeout=20)
    assert numbers(reader, one) == [1, 2, 3, 4, 5, 6]
    assert numbers(reader, other) == [1, 2, 3]
    assert {p for p, f in reader.seen if f.portfolio_id == one.id} == {partition_of(one.id, 10)}
    assert unpublished() == 0
    assert outbox.publish() == 0


def test_what_was_published_but_not_marked_is_published_again(reader, outbox, monkeypatch):
    portfolio = make_portfolio()
    tell(portfolio, 2)
    with monkeypatch.context() as crash:

        def die():
            raise OperationalError("here the process dies")

        crash.setattr("market.outbox.writing", die)
        with pytest.raises(OperationalError):
            outbox.publish()
    assert outbox.publish() == 2
    eventually(lambda: len(reader.read()) >= 4, timeout=20)
    assert numbers(reader, portfolio) == [1, 2, 1, 2]


def test_an_order_asked_about_again_gets_the_same_words(reader, outbox):
    portfolio = make_portfolio()
    asked, _ = tell(portfolio, 2), tell(portfolio)
    outbox.publish()
    assert tell_again([asked]) == 2
    assert outbox.publish() == 2
    eventually(lambda: len(reader.read()) >= 5, timeout=20)
    mine = [f for _, f in reader.seen]
    assert [f.pseq for f in mine] == [1, 2, 3, 1, 2]
    assert mine[:2] == mine[3:]


def test_only_portfolios_of_this_engines_partitions_are_told(topics):
    mine, theirs = make_portfolio(), make_portfolio()
    tell(theirs), tell(mine)
    outbox = Outbox(make_producer("test-outbox"), lambda portfolio_id: portfolio_id == mine.id)
    assert outbox.publish() == 1
    assert list(OutboxMessage.objects.filter(published=False).values_list("portfolio", flat=True)) == [theirs.id]


def test_while_kafka_is_away_the_answers_wait(topics):
    tell(make_portfolio())
    deaf = make_producer(
        "test-deaf", **{"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 300, "error_cb": print}
    )
    with pytest.raises(KafkaException):
        Outbox(deaf, everybody).publish(timeout=5)
    assert unpublished() == 1


def test_after_an_unconfirmed_answer_its_portfolios_later_ones_are_not_marked():
    rows = [(1, "a", ""), (2, "b", ""), (3, "a", ""), (4, "b", "")]
    assert list(_in_order(rows, {2, 3, 4})) == [2, 4]
    assert list(_in_order(rows, {1, 3})) == [1, 3]
