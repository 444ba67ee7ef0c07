"""What Prometheus is told: the platform as MySQL and Redis have it at this moment. No process is asked.

Every numeric field of `node:metrics:{id}` becomes `ginkgo_node_<field>`, so that what a node measures anew is there at
once. Counters live in MySQL, histograms in Redis, so they survive restarts of every process; counters fall only when
rows are pruned.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.db.models import Count, Max, Min, Sum
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from ginkgo_site import histograms, status
from market.engine import status as engine
from market.models import FencedMessage, Fill, Mismatch, Order, OutboxMessage
from market.models.reconciliation import MismatchState
from portfolios import livestate
from portfolios.counting import counts
from portfolios.models import Assignment, Checkpoint, Command, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from scheduler import views_data
from scheduler.models import Plan

log = logging.getLogger(__name__)

_STATES = ("running", "stopped", "down", "unknown")
_ALIVE = frozenset({"running", "online", "draining", "drained", "starting", "stopping", "unhealthy", "fenced"})
# Names that say what is in them better than the hash's do: field → (metric, kind, help).
_NODE: dict[str, tuple[str, str, str]] = {
    "queue_size": ("ginkgo_node_queue_depth", "gauge", "Events queued, the mean over the node's portfolios"),
    "portfolio_count": ("ginkgo_node_portfolios", "gauge", "Portfolios it runs"),
    "cpu_usage": ("ginkgo_node_cpu_percent", "gauge", "CPU, % of one core"),
    "memory_usage": ("ginkgo_node_memory_megabytes", "gauge", "Resident memory"),
    "total_events": ("ginkgo_node_events", "counter", "Events its portfolios applied"),
    "backpressure_count": ("ginkgo_node_backpressure", "counter", "Times a queue was too full"),
    "dropped_events": ("ginkgo_node_dropped_events", "counter", "Events dropped by the policy drop"),
    "skipped_events": ("ginkgo_node_skipped_events", "counter", "Events skipped after their third failure"),
    "messages_seen": ("ginkgo_node_messages", "counter", "Messages read from Kafka"),
    "undecodable": ("ginkgo_node_undecodable_messages", "counter", "Messages that could not be decoded"),
    "orders_sent": ("ginkgo_node_orders_sent", "counter", "Orders and cancels sent"),
    "orders_failed": ("ginkgo_node_orders_failed", "counter", "Sends that Kafka did not take; they are sent again"),
    "checkpoints": ("ginkgo_node_checkpoints", "counter", "Checkpoints written"),
    "checkpoint_ms": ("ginkgo_node_checkpoint_latency_milliseconds", "gauge", "The last write of checkpoints"),
    "threads": ("ginkgo_node_threads", "gauge", "Threads of its process"),
    "lag_messages": ("ginkgo_node_lag_messages", "gauge", "Not yet worked off, of all partitions"),
    "lag_seconds": ("ginkgo_node_lag_seconds", "gauge", "Of the partition that is furthest behind"),
    "uptime": ("ginkgo_node_uptime_seconds", "gauge", "Since it started"),
}
FAILOVER = "failover"


class Platform:
    """A collector: each scrape reads everything anew."""

    def collect(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        look = status.overview(now)
        yield _gauge("ginkgo_redis_up", "Whether Redis answers; without it nodes and feed are not known", look.known)
        yield from _nodes(look)
        yield from _feed(look.feed, now)
        yield from _portfolios(now)
        yield from _scheduler(now)
        yield from _engine(now)


def exposition() -> bytes:
    """The text that Prometheus reads. Raises django.db.Error when the database is away."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Platform())  # type: ignore[arg-type]
    return generate_latest(registry)


def _nodes(look: status.Overview) -> Iterator[Metric]:
    up = GaugeMetricFamily("ginkgo_node_up", "Whether its heart beats", labels=["node"])
    healthy = GaugeMetricFamily("ginkgo_node_healthy", "Whether it says that it is well", labels=["node"])
    age = GaugeMetricFamily("ginkgo_node_heartbeat_age_seconds", "Since its last heartbeat", labels=["node"])
    enabled = GaugeMetricFamily("ginkgo_node_enabled", "0: drained, it is given nothing", labels=["node"])
    for node in look.nodes:
        label = [node["id"]]
        up.add_metric(label, node["heartbeat_age"] is not None)
        healthy.add_metric(label, node["state"] in _ALIVE - {"unhealthy", "fenced"})
        enabled.add_metric(label, node["enabled"])
        if node["heartbeat_age"] is not None:
            age.add_metric(label, node["heartbeat_age"])
    yield from (up, healthy, age, enabled)
    families: dict[str, Metric] = {}
    for node_id, fields in look.metrics.items():
        for field, text in fields.items():
            value = _number(text)
            if value is None or not field.isidentifier() or not field.isascii():
                continue
            name, kind, words = _NODE.get(field, (f"ginkgo_node_{field}", "gauge", "As the node says"))
            if name not in families:
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                families[name] = family(name, words, labels=["node"])
            families[name].add_metric([node_id], value)  # type: ignore[attr-defined]
    yield from families.values()
    yield from _lags(look)


def _lags(look: status.Overview) -> Iterator[Metric]:
    labels = ["node", "topic", "partition"]
    messages = GaugeMetricFamily("ginkgo_node_partition_lag_messages", "Not yet worked off", labels=labels)
    seconds = GaugeMetricFamily("ginkgo_node_partition_lag_seconds", "How long the node is behind", labels=labels)
    for node_id, fields in look.metrics.items():
        for where, (behind, since) in livestate.lag_of(fields).items():
            topic, _, partition = where.rpartition(":")
            messages.add_metric([node_id, topic, partition], behind)
            seconds.add_metric([node_id, topic, partition], since)
    yield from (messages, seconds)


def _feed(said: Mapping[str, str], now: datetime) -> Iterator[Metric]:
    age = status.age_of(said.get("updated_at"), now)
    alive = age is not None and age < status.FEED_IS_SILENT
    yield _gauge("ginkgo_feed_up", "Whether a feed has spoken lately", alive)
    yield _counter("ginkgo_feed_messages", "Published since the feed began", _number(said.get("messages")) or 0)
    rate = _number(said.get("per_second")) if alive else 0
    yield _gauge("ginkgo_feed_messages_per_second", "Published of late", rate or 0)


def _portfolios(now: datetime) -> Iterator[Metric]:
    by_status = GaugeMetricFamily("ginkgo_portfolios", "Portfolios by status", labels=["status"])
    found = dict(Portfolio.objects.order_by().values_list("status").annotate(Count("pk")))
    for name in Status.values:
        by_status.add_metric([name], found.get(name, 0))
    yield by_status
    # A change of owner adds one to an epoch and nothing else does.
    epochs = Assignment.objects.aggregate(total=Sum("epoch"), highest=Max("epoch"))
    yield _counter("ginkgo_ownership_changes", "Epochs of all portfolios together", epochs["total"] or 0)
    yield _gauge("ginkgo_highest_epoch", "Of all portfolios", epochs["highest"] or 0)
    oldest = Checkpoint.objects.filter(portfolio__status=Status.RUNNING).aggregate(at=Min("saved_at"))["at"]
    age = (now - oldest).total_seconds() if oldest is not None else 0.0
    yield _gauge("ginkgo_oldest_checkpoint_age_seconds", "Of a running portfolio: what it has not saved since", age)


def _scheduler(now: datetime) -> Iterator[Metric]:
    said = views_data.status()
    yield _gauge(
        "ginkgo_scheduler_up", "Whether it has checked heartbeats lately", said["scheduler_status"] == "running"
    )
    yield _gauge("ginkgo_plan_version", "Of the plan", said["plan_version"])
    yield _gauge("ginkgo_unplaced_portfolios", "That no node could be found for", said["unplaced_count"])
    yield _gauge("ginkgo_open_moves", "Planned moves under way", said["open_moves"])
    moves = CounterMetricFamily("ginkgo_moves", "Portfolios moved, by why", labels=["kind"])
    for kind, number in sorted(TALLY.read().items()):
        moves.add_metric([kind], number)
    yield moves
    yield _counter("ginkgo_failovers", "Portfolios that a dead node's successor took over", TALLY.read()[FAILOVER])
    commands = GaugeMetricFamily("ginkgo_commands", "Commands of the last hour by state", labels=["type", "state"])
    recent = Command.objects.filter(created_at__gte=now - timedelta(hours=1)).order_by()
    for kind, state, number in recent.values_list("command_type", "state").annotate(Count("pk")):
        commands.add_metric([kind, state], number)
    yield commands
    yield from _histogram("ginkgo_reload_seconds", "Of reloads: from the command to its end", "reload", now)


def _engine(now: datetime) -> Iterator[Metric]:
    said = engine.read(now)
    yield _gauge("ginkgo_engine_up", "Whether an engine speaks", said["engine_status"] in ("running", "stopped"))
    yield _gauge("ginkgo_engine_switch", "0: the big red button is pressed", said["switch"] == "on")
    orders = CounterMetricFamily("ginkgo_orders", "Orders by the state they are in", labels=["state"])
    for state, number in Order.objects.order_by().values_list("state").annotate(Count("pk")):
        orders.add_metric([state], number)
    yield orders
    numbers = counts(
        fills=Fill.objects.all(),
        fenced=FencedMessage.objects.all(),
        mismatches=Mismatch.objects.filter(state=MismatchState.OPEN),
    )
    yield _counter("ginkgo_fills", "Fills", numbers["fills"])
    yield _counter("ginkgo_fenced_orders", "Orders of stale owners: recorded, never sent", numbers["fenced"])
    words = "Differences between fills, portfolios' books and brokers' that stand"
    yield _gauge("ginkgo_mismatches", words, numbers["mismatches"])
    yield _gauge("ginkgo_open_orders", "Neither filled nor ended", said["open_orders"])
    yield _gauge("ginkgo_unpublished_feedback", "Answers that Kafka has not taken yet", said["unpublished"])
    words = "Of orders: from the engine's receipt to its first answer"
    yield from _histogram("ginkgo_order_answer_seconds", words, "order_answer", now)
    oldest = OutboxMessage.objects.filter(published=False).aggregate(at=Min("created_at"))["at"]
    lag = (now - oldest).total_seconds() if oldest is not None else 0.0
    yield _gauge("ginkgo_outbox_lag_seconds", "Age of the oldest answer that is not published", lag)
    wanted = counts(wanted=Portfolio.objects.filter(desired_state=DesiredState.RUNNING))["wanted"]
    yield _gauge("ginkgo_portfolios_wanted", "That are to run", wanted)


class Tally:
    """Moves by their kind, over all versions of the plan: each version is read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0
        self._counts: Counter[str] = Counter({FAILOVER: 0})

    def read(self) -> Counter[str]:
        with self._lock:
            for version, moves in (
                Plan.objects.filter(version__gt=self._until).order_by("version").values_list("version", "moves")
            ):
                self._counts.update(_kind(move) for move in moves)
                self._until = version
            return Counter(self._counts)


def _kind(move: Mapping[str, Any]) -> str:
    return str(move.get("kind") or "other")


TALLY = Tally()


def _gauge(name: str, words: str, value: float | bool) -> Metric:
    return GaugeMetricFamily(name, words, value=float(value))


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value=float(value))


_SINCE = {"reload": histograms.reloads, "order_answer": histograms.answers}


def _histogram(name: str, words: str, kept: str, now: datetime) -> Iterator[Metric]:
    """Nothing while Redis, which keeps the counts, is away: zeros would be a lie."""
    try:
        found = histograms.advance(livestate.client(timeout=1.0), kept, _SINCE[kept], now)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.info("The metric %s is left out: %s", name, error)
        return
    edges = [*map(str, histograms.EDGES), "+Inf"]
    buckets = [(edge, float(number)) for edge, number in zip(edges, found.buckets, strict=True)]
    yield HistogramMetricFamily(name, words, buckets=buckets, sum_value=found.total)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
