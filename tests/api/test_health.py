"""Health and metrics: what Redis and MySQL know of each server, process and node."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db.models import F
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from ginkgo_site import metrics
from ginkgo_site.api import health
from market import switch
from market.models import Order, OutboxMessage
from portfolios import livestate
from portfolios.models import Assignment, Command, Portfolio
from scheduler.models import Node, Plan
from tests.api import callers
from tests.ginkgo_site import books
from tests.support.stack import RunningStack

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_FRESH", 0.0)
    monkeypatch.setattr(metrics, "TALLY", metrics.Tally())


def look() -> tuple[int, dict[str, Any]]:
    answer = callers.nobody().get("/api/health")
    return answer.status_code, answer.json()


def beat(client: redis.Redis, node_id: str, state: str = "running", **measured: str) -> None:
    client.set(livestate.heartbeat_key(node_id), datetime.now(UTC).isoformat(), ex=30)
    client.hset(livestate.node_info_key(node_id), mapping={"state": state, "instance": "i"})
    client.hset(livestate.metrics_key(node_id), mapping={"threads": "9", **measured})


def all_well(client: redis.Redis) -> None:
    now = datetime.now(UTC).isoformat()
    client.hset(livestate.SCHEDULER_STATUS, mapping={"scheduler_status": "running", "last_check": now})
    client.hset(livestate.ENGINE_STATUS, mapping={"engine_status": "running", "updated_at": now})
    client.hset(livestate.FEED_STATUS, mapping={"state": "running", "updated_at": now, "messages": "7"})


@pytest.mark.servers
class TestHealth:
    def test_where_all_is_well_it_is_200(self, live: redis.Redis) -> None:
        all_well(live)
        beat(live, "node-1")
        books.portfolio("Mine", books.administrator())
        status, found = look()
        assert (status, found["healthy"], found["faults"]) == (200, True, [])
        assert {name: one["status"] for name, one in found["servers"].items() if one["required"]} == {
            "database": "up", "redis": "up", "kafka": "up",
        }  # fmt: skip
        assert (found["scheduler"]["status"], found["engine"]["status"]) == ("running", "running")
        (node,) = found["nodes"]
        assert (node["id"], node["state"], node["threads"]) == ("node-1", "running", 9)
        assert 0 <= node["heartbeat_age"] < 5

    def test_each_process_that_is_away_is_a_fault(self, live: redis.Redis) -> None:
        books.portfolio("Mine", books.administrator())
        status, found = look()
        assert status == 503
        assert found["faults"] == [
            "the scheduler is stopped",
            "no engine runs",
            "1 portfolios are to run and no node does",
        ]

    @pytest.mark.parametrize("state", ["unhealthy", "fenced"])
    def test_a_node_that_is_ill_is_a_fault(self, live: redis.Redis, state: str) -> None:
        all_well(live)
        beat(live, "node-1", state)
        assert look()[1]["faults"] == [f"node node-1 is {state}"]

    def test_a_node_that_went_in_order_is_none(self, live: redis.Redis) -> None:
        all_well(live)
        Node.objects.create(node_id="gone", state="offline")
        Node.objects.create(node_id="lost", state="online")
        assert look()[1]["faults"] == ["node lost is missing"]

    def test_a_pressed_button_is_no_fault(self, live: redis.Redis) -> None:
        all_well(live)
        switch.turn(False, "somebody")
        status, found = look()
        assert (status, found["engine"]["status"], found["engine"]["switch"]) == (200, "stopped", "off")

    def test_servers_that_nobody_needs_may_be_away(
        self, live: redis.Redis, settings: Settings, stack: RunningStack
    ) -> None:
        all_well(live)
        without = replace(
            settings.GINKGO_RESOLVE(), mongodb="mongodb://127.0.0.1:1/x", history="clickhouse://127.0.0.1:1/x"
        )
        settings.GINKGO_RESOLVE = lambda: without
        status, found = look()
        assert (status, found["servers"]["mongodb"]["status"], found["servers"]["history"]["status"]) == (
            200,
            "down",
            "down",
        )

    def test_without_kafka_it_is_503(self, live: redis.Redis, settings: Settings) -> None:
        all_well(live)
        without = replace(settings.GINKGO_RESOLVE(), kafka="127.0.0.1:1,nonsense")
        settings.GINKGO_RESOLVE = lambda: without
        status, found = look()
        assert (status, found["faults"]) == (503, ["kafka does not answer"])


@pytest.mark.usefixtures("redis_away")
def test_without_redis_what_it_knew_is_unknown() -> None:
    Node.objects.create(node_id="node-1", state="online")
    status, found = look()
    assert status == 503
    assert "redis does not answer" in found["faults"]
    assert (found["engine"]["status"], found["feed"]["status"], found["nodes"][0]["state"]) == ("unknown",) * 3


def test_it_tells_nobody_where_the_servers_are(redis_away: None) -> None:
    text = callers.nobody().get("/api/health").content.decode()
    assert "127.0.0.1" not in text and "/" not in text


class TestMetrics:
    def read(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Each sample by name and labels."""
        answer = callers.by_key(books.administrator(), "read").get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(answer.content.decode()):
            assert family.documentation
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    @pytest.mark.servers
    def test_a_nodes_own_figures_are_there_those_not_known_today_too(self, live: redis.Redis) -> None:
        beat(live, "n1", queue_size="12", total_events="9001", checkpoint_ms="1.25", lag_messages="77", odd="many")
        beat(live, "n2", "fenced", total_events="5", lag='{"market:3": [42, 1.5]}')
        Node.objects.create(node_id="lost", state="online")
        found = self.read()
        assert found["ginkgo_node_up"] == {(("node", "lost"),): 0, (("node", "n1"),): 1, (("node", "n2"),): 1}
        assert found["ginkgo_node_healthy"][("node", "n2"),] == 0
        assert found["ginkgo_node_queue_depth"] == {(("node", "n1"),): 12}
        assert found["ginkgo_node_events_total"] == {(("node", "n1"),): 9001, (("node", "n2"),): 5}
        assert found["ginkgo_node_checkpoint_latency_milliseconds"] == {(("node", "n1"),): 1.25}
        assert found["ginkgo_node_lag_messages"] == {(("node", "n1"),): 77}
        assert "ginkgo_node_odd" not in found
        place = (("node", "n2"), ("partition", "3"), ("topic", "market"))
        assert found["ginkgo_node_partition_lag_messages"] == {place: 42}
        assert found["ginkgo_node_partition_lag_seconds"] == {place: 1.5}

    @pytest.mark.usefixtures("redis_away")
    def test_what_mysql_counts(self) -> None:
        made = books.portfolio("Mine", books.administrator())
        for number in (1, 2):
            books.order(made, number)
        Assignment.objects.update(epoch=7)
        Plan.objects.create(moves=[{"kind": "failover"}, {"kind": "place"}])
        Plan.objects.create(moves=[{"kind": "failover"}])
        found = self.read()
        assert found["ginkgo_redis_up"] == {(): 0}
        assert found["ginkgo_orders_total"] == {(("state", "filled"),): 2}
        assert found["ginkgo_fenced_orders_total"] == {(): 2}
        assert found["ginkgo_ownership_changes_total"] == {(): 7}
        assert found["ginkgo_failovers_total"] == {(): 2}
        assert found["ginkgo_portfolios"][("status", "running"),] == 1
        assert found["ginkgo_engine_switch"] == {(): 1}

    @pytest.mark.usefixtures("redis_away")
    def test_a_version_of_the_plan_is_counted_once(self) -> None:
        Plan.objects.create(moves=[{"kind": "failover"}])
        assert self.read()["ginkgo_failovers_total"] == {(): 1}
        Plan.objects.create(moves=[{"kind": "failover"}])
        assert self.read()["ginkgo_failovers_total"] == {(): 2}

    @pytest.mark.servers
    def test_how_long_answers_and_reloads_take_is_counted_once_each(self, live: redis.Redis) -> None:
        made = books.portfolio("Mine", books.administrator())
        before = self.read()
        assert before["ginkgo_order_answer_seconds_count"] == before["ginkgo_reload_seconds_count"] == {(): 0}
        # As if the first scrape had been a minute ago: what is newer than two seconds waits for the next one.
        begun = datetime.now(UTC) - timedelta(minutes=1)
        live.hset("metrics:histogram:reload", "place", begun.isoformat())
        self._happened(made, begun + timedelta(seconds=10), answered_in=0.2, reloaded_in=2)
        self._happened(made, datetime.now(UTC), answered_in=0.2, reloaded_in=2)
        for _ in range(2):
            found = self.read()
            assert found["ginkgo_order_answer_seconds_count"] == {(): 1}
            buckets = found["ginkgo_order_answer_seconds_bucket"]
            assert (buckets[("le", "0.1"),], buckets[("le", "0.25"),], buckets[("le", "+Inf"),]) == (0, 1, 1)
            assert found["ginkgo_order_answer_seconds_sum"][()] == pytest.approx(0.2)
            assert found["ginkgo_reload_seconds_bucket"][("le", "2.5"),] == 1
        OutboxMessage.objects.update(created_at=F("created_at") - timedelta(seconds=5))
        assert self.read()["ginkgo_order_answer_seconds_count"] == {(): 2}

    def _happened(self, made: Portfolio, at: datetime, *, answered_in: float, reloaded_in: float) -> None:
        """An order with two answers, and a reload, that began at this moment."""
        order = books.order(made, Order.objects.count() + 1)
        Order.objects.filter(pk=order.pk).update(received_at=at)
        first = OutboxMessage.objects.filter(order_id=order.pk)
        first.update(created_at=at + timedelta(seconds=answered_in), published=True)
        later = OutboxMessage.objects.create(portfolio=made, pseq=100 + order.epoch, order_id=order.pk, message="{}")
        OutboxMessage.objects.filter(pk=later.pk).update(
            pseq=1000 + later.pk, created_at=at + timedelta(seconds=1), published=True
        )
        # One by a node, and one for which no node had anything to do: that took no time, and does not count.
        for door, took in (("celery", reloaded_in), ("direct", 0)):
            done = Command.objects.create(command_type="portfolio.reload", target_id=made.id, state="done", door=door)
            Command.objects.filter(pk=done.pk).update(created_at=at, finished_at=at + timedelta(seconds=took))

    @pytest.mark.usefixtures("redis_away")
    def test_without_redis_there_are_no_histograms_rather_than_wrong_ones(self) -> None:
        assert not [name for name in self.read() if "answer_seconds" in name or "reload_seconds" in name]

    def test_nobody_is_told_nothing(self) -> None:
        answer = callers.nobody().get("/metrics", accept="text/plain")
        assert (answer.status_code, answer.json()["code"]) == (401, "NOT_AUTHENTICATED")
