"""`ginkgo up` as a user runs it: real servers, real processes, real closes, from a price to a fill in the books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka.partitioner.default import murmur2

from market import topics
from tests.support import stack
from tests.support.eventually import eventually
from tests.support.platform import Platform, gone, imbalance, kill, platform

pytestmark = pytest.mark.timeout(300)

_PLACES = 8
_ACCEPTED_LATER = "SELECT count(*) FROM market_order WHERE order_id = ? AND epoch > ?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Platform]:
    with platform(home, "--nodes", "2", "--speed", "4") as up:
        eventually(lambda: _fills(up) > 0, 120, 0.5, saying="a first fill")
        yield up


def _fills(up: Platform) -> int:
    if not (up.home / "ginkgo.sqlite3").exists() or not up.rows(
        "SELECT 1 FROM sqlite_master WHERE name = 'market_fill'"
    ):
        return 0
    return int(up.one("SELECT count(*) FROM market_fill"))


def test_portfolios_run_on_both_nodes_and_orders_are_filled(running: Platform) -> None:
    found = running.status()

    assert {n["id"] for n in found["nodes"]} == {"node-1", "node-2"}
    assert [p["status"] for p in found["portfolios"]] == ["running"] * 3
    assert {p["node_id"] for p in found["portfolios"]} == {"node-1", "node-2"}
    assert found["orders"]["filled"] > 0
    assert found["orders"]["fenced"] == 0
    assert found["feed"]["messages"] > 0
    assert found["feed"]["event_time"]


def test_status_has_the_agreed_shape(running: Platform) -> None:
    found = running.status()

    assert set(found) == {"nodes", "portfolios", "orders", "feed"}
    assert set(found["orders"]) == {"submitted", "filled", "rejected", "fenced"}
    assert set(found["feed"]) >= {"messages", "per_second", "event_time"}
    for portfolio in found["portfolios"]:
        assert set(portfolio) >= {"id", "name", "status", "node_id", "epoch", "cash", "total_value"}
        assert portfolio["epoch"] >= 1
        assert portfolio["total_value"] > 0


def test_every_message_is_json_and_lies_in_its_keys_partition(running: Platform) -> None:
    keys = {
        "price_update": "code",
        "order_submission": "portfolio_id",
        "order_cancel": "portfolio_id",
        "order_ack": "portfolio_id",
        "order_filled": "portfolio_id",
        "order_partially_filled": "portfolio_id",
        "order_rejected": "portfolio_id",
        "order_cancelled": "portfolio_id",
        "schedule_update": "node_id",
        "interest.update": "node_id",
        "node.online": "node_id",
        "node.offline": "node_id",
        "alert": "source",
    }
    seen: set[str] = set()
    consumer = Consumer(
        {
            "bootstrap.servers": stack.read(running.home)["kafka"],
            "group.id": "look",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
        }
    )
    for topic in topics.TOPICS:
        partitions = consumer.list_topics(topic.name, 10).topics[topic.name].partitions
        assert len(partitions) == topic.partitions
        for partition in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), 10, cached=False)
            if low == high:
                continue
            consumer.assign([TopicPartition(topic.name, partition, low)])
            for message in consumer.consume(min(50, high - low), 10):
                assert message.error() is None
                body = json.loads(message.value())
                kind = body["event_type"]
                seen.add(kind)
                assert body["_v"] == 1
                assert body["timestamp"].endswith("Z")
                if kind in keys:
                    assert message.key().decode() == body[keys[kind]]
                assert (murmur2(message.key()) & 0x7FFFFFFF) % len(partitions) == partition
    consumer.close()

    assert {
        "price_update",
        "order_submission",
        "order_ack",
        "order_filled",
        "interest.update",
        "schedule_update",
    } <= seen


def test_an_order_carries_the_position_of_its_cause(running: Platform) -> None:
    cause, code = running.rows("SELECT cause, code FROM market_order LIMIT 1")[0]
    topic, partition, offset, _number = cause.split(":")
    consumer = Consumer(
        {
            "bootstrap.servers": stack.read(running.home)["kafka"],
            "group.id": "look",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, int(partition), int(offset))])

    message = consumer.consume(1, 10)[0]
    consumer.close()

    assert message.offset() == int(offset)
    assert json.loads(message.value())["code"] == code


def test_the_books_are_exact(running: Platform) -> None:
    eventually(lambda: _fills(running) >= 5, 60, 0.5)

    assert imbalance(running) == []


def test_no_money_is_lost_to_rounding(running: Platform) -> None:
    for amount, price, volume in running.rows("SELECT amount, price, volume FROM market_fill"):
        assert Decimal(str(amount)) == (Decimal(str(price)) * volume).quantize(Decimal("0.0001"))


def test_a_killed_node_comes_back_and_its_portfolios_go_on(running: Platform) -> None:
    mine = running.rows("SELECT portfolio_id, epoch FROM portfolios_assignment WHERE node_id = 'node-1'")
    assert mine
    pid, fills = running.pid("node-1"), _fills(running)

    kill(pid)

    eventually(lambda: running.pid("node-1") not in (0, pid), 20, saying="node-1 started again")
    for portfolio_id, epoch in mine:
        eventually(
            lambda p=portfolio_id, e=epoch: (
                running.one("SELECT epoch FROM portfolios_assignment WHERE portfolio_id = ?", p) > e
            ),
            30,
            saying="a new epoch",
        )
    eventually(lambda: {p["status"] for p in running.status()["portfolios"]} == {"running"}, 30, 1)
    eventually(lambda: _fills(running) > fills + 3, 90, 0.5, saying="fills after the kill")
    _nothing_was_repeated(running)


def test_a_killed_engine_comes_back_without_a_repeated_order_or_fill(running: Platform) -> None:
    pid, fills = running.pid("engine"), _fills(running)

    kill(pid)

    eventually(lambda: running.pid("engine") not in (0, pid), 20, saying="the engine started again")
    eventually(lambda: _fills(running) > fills + 3, 90, 0.5, saying="fills after the kill")
    _nothing_was_repeated(running)


def _nothing_was_repeated(running: Platform) -> None:
    """The broker's own book: each order was submitted once, and the engine has recorded exactly its fills."""
    eventually(lambda: not imbalance(running), 20, 1, saying="books that agree")
    assert running.one("SELECT count(*) FROM market_brokerorder WHERE submitted_count > 1") == 0
    # What the dead owner had still under way may be fenced; then its successor has sent it again.
    fenced = running.rows("SELECT DISTINCT order_id, epoch FROM market_fencedmessage")
    for order_id, epoch in fenced:
        eventually(lambda o=order_id, e=epoch: running.one(_ACCEPTED_LATER, o, e) == 1, 30, 0.5, saying="sent again")

    def books_agree() -> bool:
        book = running.rows("SELECT fill_id FROM market_brokerfill ORDER BY fill_id")
        engine = running.rows("SELECT fill_id FROM market_fill ORDER BY fill_id")
        return book == engine

    eventually(books_agree, 20, 0.5, saying="the engine's fills are the broker's")
    for portfolio_id, last in running.rows("SELECT portfolio_id, pseq FROM market_feedbackcounter"):
        counted = running.one(
            "SELECT count(*) FROM market_outboxmessage WHERE portfolio_id = ? AND pseq <= ?", portfolio_id, last
        )
        assert counted == last


def test_ctrl_c_leaves_nothing_behind_and_the_next_start_goes_on_where_it_was(home: Path, running: Platform) -> None:
    family = running.family()
    assert len(family) >= _PLACES

    assert running.interrupt() == 0

    assert gone(family, 5)
    assert imbalance(running) == []
    assert running.one("SELECT count(*) FROM market_order WHERE state = 'sending'") == 0
    before = dict(running.rows("SELECT portfolio_id, pseq FROM portfolios_checkpoint"))
    states = {i: json.loads(s) for i, s in running.rows("SELECT portfolio_id, state FROM portfolios_checkpoint")}
    fills = _fills(running)

    with platform(home, "--nodes", "2", "--speed", "4") as again:
        eventually(lambda: _fills(again) > fills, 60, 0.5, saying="trading goes on")
        now = {i: json.loads(s) for i, s in again.rows("SELECT portfolio_id, state FROM portfolios_checkpoint")}
        assert imbalance(again) == []
        for portfolio_id, state in now.items():
            assert state["pseq"] >= before[portfolio_id]
            assert state["now"] >= states[portfolio_id]["now"]  # the story goes on, it does not begin anew

        family = again.family()
        kill(again.process.pid)
        assert gone(family, 10)


@pytest.mark.slow
def test_after_the_supervisor_was_killed_the_next_start_works(home: Path, running: Platform) -> None:
    fills = _fills(running)
    if running.process.poll() is None:
        family = running.family()
        kill(running.process.pid)
        assert gone(family, 10)
    with platform(home, "--nodes", "2", "--speed", "4") as again:
        eventually(lambda: _fills(again) > fills, 60, 0.5, saying="trading goes on")
        assert imbalance(again) == []
        assert again.interrupt() == 0
