"""The status: the exact document, true to MySQL and Redis, in few queries, and honest without Redis."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rich.console import Console

from ginkgo_site import status, status_screen
from market.models.order import OrderState
from portfolios import livestate
from scheduler.models import Node
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db


def beat(client: redis.Redis, node_id: str, **metrics: str | int) -> str:
    at = datetime.now(UTC).isoformat()
    client.set(livestate.heartbeat_key(node_id), at, ex=30)
    client.hset(livestate.node_info_key(node_id), mapping={"state": "running", "host": "h1", "pid": 77})
    written: dict[Any, Any] = {"portfolio_count": 0, **metrics}
    client.hset(livestate.metrics_key(node_id), mapping=written)
    return at


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in found}


def text_of(look: status.Look) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(status_screen.render(look, datetime.now(UTC)))
    return console.export_text()


@pytest.mark.usefixtures("redis_away")
class TestWithoutRedis:
    def test_a_new_installation_has_nothing_and_the_document_its_four_keys(self) -> None:
        assert status.collect() == {
            "nodes": [],
            "portfolios": [],
            "orders": {"submitted": 0, "filled": 0, "rejected": 0, "fenced": 0},
            "feed": {"messages": 0, "per_second": 0.0, "event_time": None},
        }

    def test_it_says_that_redis_is_away(self) -> None:
        (note,) = status.look().notes
        assert note.startswith("Redis does not answer")
        assert "\n" not in note

    def test_nodes_that_mysql_knows_are_of_unknown_state(self) -> None:
        seen = datetime.now(UTC)
        Node.objects.create(node_id="node-1", state="online", last_seen=seen, host="h1", pid=7)
        books.portfolio("Mine", books.administrator())
        (node,) = status.collect()["nodes"]
        assert (node["id"], node["state"], node["portfolios"]) == ("node-1", "unknown", 1)
        assert node["last_heartbeat"] == seen.isoformat()
        assert node["queue_size"] is None

    def test_a_portfolio_that_ran_shows_its_checkpoints_cash(self) -> None:
        made = books.portfolio("Mine", books.administrator())
        assert status.collect()["portfolios"] == [
            {
                "id": made.id,
                "name": "Mine",
                "status": "running",
                "node_id": "node-1",
                "epoch": 3,
                "cash": 1_000_000.0,
                "total_value": 1_000_000.0,
            }
        ]

    def test_orders_are_counted_by_their_fate(self) -> None:
        made = books.portfolio("Mine", books.administrator())
        fates = [OrderState.FILLED, OrderState.FILLED, OrderState.REJECTED, OrderState.NEW, OrderState.CANCELLED]
        for number, state in enumerate(fates, 1):
            books.order(made, number, state)
        assert status.collect()["orders"] == {"submitted": 5, "filled": 2, "rejected": 1, "fenced": 5}

    def test_it_takes_as_many_queries_for_thirty_portfolios_as_for_one(self) -> None:
        owner = books.administrator()
        books.portfolio("First", owner)
        with CaptureQueriesContext(connection) as one:
            status.collect()
        for number in range(29):
            books.portfolio(f"P{number}", owner)
        with CaptureQueriesContext(connection) as thirty:
            status.collect()
        assert len(thirty) == len(one) <= 8

    def test_the_screen_fits_80_columns_and_says_what_it_does_not_know(self) -> None:
        Node.objects.create(node_id="a-node-with-a-rather-long-name-01", state="online", last_seen=datetime.now(UTC))
        made = books.portfolio("A portfolio with a name of some length, as people give them", books.administrator())
        books.order(made, 1)
        text = text_of(status.look())
        assert max(len(line) for line in text.splitlines()) <= 80
        for word in ("unknown", "running", "1,000,000.00", "1 submitted, 1 filled", "Redis does not answer"):
            assert word in text


@pytest.mark.servers
class TestWithRedis:
    @pytest.fixture(autouse=True)
    def _redis(self, live: redis.Redis) -> Iterator[None]:
        self.redis = live
        yield

    def test_a_nodes_figures_are_those_it_wrote(self) -> None:
        Node.objects.create(node_id="node-1", state="online", max_portfolios=5)
        at = beat(
            self.redis,
            "node-1",
            portfolio_count=1,
            queue_size="12",
            cpu_usage="3.5",
            memory_usage="141.2",
            total_events="9001",
            lag_messages="42",
            lag_seconds="1.5",
        )
        books.portfolio("Mine", books.administrator())
        look = status.look()
        assert look.notes == ()
        assert look.document["nodes"] == [
            {
                "id": "node-1",
                "state": "running",
                "health": "",
                "enabled": True,
                "portfolios": 1,
                "running": 1,
                "max_portfolios": 5,
                "queue_size": 12.0,
                "cpu": 3.5,
                "memory_mb": 141.2,
                "events": 9001,
                "lag_messages": 42,
                "lag_seconds": 1.5,
                "last_heartbeat": at,
                "host": "h1",
                "pid": 77,
            }
        ]

    def test_a_node_is_what_its_heart_says(self) -> None:
        Node.objects.create(node_id="dead", state="offline")
        Node.objects.create(node_id="silent", state="online")
        beat(self.redis, "new")
        states = {node["id"]: node["state"] for node in status.collect()["nodes"]}
        assert states == {"dead": "offline", "silent": "missing", "new": "running"}

    def test_a_node_says_what_it_lacks(self) -> None:
        for node_id, health in (("node-1", "well"), ("node-2", "Kafka does not answer")):
            beat(self.redis, node_id)
            self.redis.hset(livestate.node_info_key(node_id), "health", health)
        nodes = by_id(status.collect()["nodes"])
        assert {n: nodes[n]["health"] for n in ("node-1", "node-2")} == {
            "node-1": "",
            "node-2": "Kafka does not answer",
        }
        assert "node-2: Kafka does not answer" in text_of(status.look())

    def test_a_drained_node_says_so(self) -> None:
        Node.objects.create(node_id="node-1", state="online", enabled=False)
        beat(self.redis, "node-1")
        assert "drained" in text_of(status.look())

    def test_figures_that_are_no_numbers_count_as_not_said(self) -> None:
        beat(self.redis, "node-1", queue_size="many", cpu_usage="nan?")
        node = by_id(status.collect()["nodes"])["node-1"]
        assert (node["queue_size"], node["cpu"], node["events"]) == (None, None, None)

    def test_a_running_portfolio_shows_what_its_node_wrote(self) -> None:
        made = books.portfolio("Mine", books.administrator())
        state: dict[Any, Any] = {
            "cash": "912345.6789",
            "total_value": "1012345.6789",
            "position_count": 2,
            "node_id": "node-1",
            "version": 1,
            "updated_at": datetime.now(UTC).isoformat(),
        }
        self.redis.hset(livestate.state_key(made.id), mapping=state)
        (found,) = status.collect()["portfolios"]
        assert (found["cash"], found["total_value"]) == (912345.6789, 1012345.6789)

    def feed(self, age: float) -> dict[str, Any]:
        now = datetime.now(UTC)
        said: dict[Any, Any] = {
            "messages": 700,
            "per_second": "7.0",
            "event_time": "2021-03-02T07:00:00+00:00",
            "updated_at": (now - timedelta(seconds=age)).isoformat(),
        }
        self.redis.hset(livestate.FEED_STATUS, mapping=said)
        feed: dict[str, Any] = status.collect()["feed"]
        return feed

    def test_the_feed_is_what_it_last_said(self) -> None:
        expected = {"messages": 700, "per_second": 7.0, "event_time": "2021-03-02T07:00:00+00:00"}
        assert self.feed(age=1) == expected

    def test_a_feed_that_was_killed_publishes_nothing(self) -> None:
        assert self.feed(age=60)["per_second"] == 0.0
