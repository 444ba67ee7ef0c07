"""`ginkgo data restored`: nothing that the log remembers, and the restored books do not, is read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import redis
from confluent_kafka import TopicPartition
from django.contrib.auth.models import User

from ginkgo_site.installation.restored import after_restore
from market import bus, switch, topics
from market.bus import KafkaUnavailable
from market.submissions import GROUP
from market.topic_admin import create_topics
from portfolios import livestate, services
from portfolios.errors import Conflict
from portfolios.models import Assignment, Checkpoint, Portfolio
from tests.support import eventually

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

CONFIG = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 100000}},
    "codes": ["000001.SZ"],
}


@pytest.fixture
def portfolio(live: redis.Redis) -> Portfolio:
    """As the back-up has it: running on a node, with places in a log that has gone on since."""
    create_topics()
    owner = User.objects.create_superuser("admin")
    made = services.create("Restored", owner, "cn", Decimal(1_000_000), CONFIG, running=True)
    Assignment.objects.filter(portfolio=made).update(node_id="node-1", epoch=7)
    places = {topics.MARKET_DATA["cn"]: {"3": 5}, topics.ORDERS_FEEDBACK: {"1": 2}}
    Checkpoint.objects.filter(portfolio=made).update(epoch=7, offsets=places, topic_ids={"t": "u"}, pseq=4)
    Portfolio.objects.filter(id=made.id).update(status="running")
    live.hset(livestate.state_key(made.id), mapping={"cash": "1"})
    return made


def test_every_portfolio_is_stopped_and_begins_at_the_live_end(portfolio: Portfolio, live: redis.Redis) -> None:
    done = after_restore()
    assert done.stopped == [("Restored", portfolio.id)]
    portfolio.refresh_from_db()
    assert (portfolio.desired_state, portfolio.status) == ("stopped", "stopped")
    saved = Checkpoint.objects.get(portfolio=portfolio)
    assert (saved.offsets, saved.topic_ids, saved.pseq, saved.epoch) == ({}, {}, 4, 8)
    owner = Assignment.objects.get(portfolio=portfolio)
    assert (owner.node_id, owner.epoch) == ("", 8)
    assert not live.exists(livestate.state_key(portfolio.id))
    assert after_restore().stopped == []  # once more does no harm


def test_trading_is_off_and_no_engine_will_read_the_orders_in_the_log(portfolio: Portfolio) -> None:
    producer = bus.make_producer("tests")
    producer.produce(topics.ORDERS_SUBMISSION, key=portfolio.id, value=b"{}")
    assert producer.flush(20) == 0
    assert after_restore().passed_over >= 1
    assert not switch.is_on()
    place = TopicPartition(topics.ORDERS_SUBMISSION, bus.partition_of(portfolio.id, 10))
    consumer = bus.make_consumer("tests", GROUP)
    try:
        (committed,) = consumer.committed([place], timeout=10)
        assert committed.offset == consumer.get_watermark_offsets(place, timeout=10, cached=False)[1]
    finally:
        consumer.close()


def test_it_refuses_while_a_node_runs(portfolio: Portfolio, live: redis.Redis) -> None:
    live.set(livestate.heartbeat_key("node-1"), datetime.now(UTC).isoformat(), ex=30)
    with pytest.raises(Conflict, match="node-1 runs: stop every process"):
        after_restore()
    portfolio.refresh_from_db()
    assert portfolio.desired_state == "running" and switch.is_on()


def test_it_refuses_while_an_engine_reads_the_orders_though_redis_knows_none(portfolio: Portfolio) -> None:
    engine = bus.make_consumer("tests", GROUP, **{"auto.offset.reset": "earliest"})
    engine.subscribe([topics.ORDERS_SUBMISSION])
    try:
        eventually(lambda: engine.poll(0.2) is None and engine.assignment(), 30, saying="an engine with partitions")
        with pytest.raises(KafkaUnavailable, match="an engine still reads the orders"):
            after_restore()
    finally:
        engine.close()
    portfolio.refresh_from_db()
    assert portfolio.desired_state == "running" and switch.is_on()
