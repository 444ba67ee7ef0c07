"""Topic administration: create every topic of `market.topics`, raise partitions, and tell what the cluster has."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from kafka.structs import TopicPartition

from market.bus import KafkaUnavailable, bootstrap
from market.control import _short
from market.control_client import connected
from market.topics import TOPICS, Topic

_FULL_REPLICATION = 3
_TIMEOUT = 5.0


@dataclass(frozen=True)
class TopicStatus:
    """`end_offsets` by partition: the offset of the next message."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    end_offsets: dict[int, int]


@dataclass(frozen=True)
class ClusterStatus:
    cluster_id: str
    brokers: list[str]
    topics: list[TopicStatus]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def wanted() -> tuple[Topic, ...]:
    """The topics with their partitions as configured (`kafka.topics.<name>.partitions`)."""
    configured = settings.GINKGO.kafka.topics
    return tuple(
        Topic(t.name, (configured[t.name].partitions if t.name in configured else None) or t.partitions, t.retention_ms)
        for t in TOPICS
    )


def create_topics(timeout: float = 30.0) -> dict[str, str]:
    """Create what is missing, raise partitions where more are configured; {topic: created | raised | exists}.

    Returns when every partition has a leader. Existing retention and replication are the operator's, and stay. Raises
    KafkaUnavailable in one line.
    """
    deadline = time.monotonic() + timeout
    with _admin(timeout) as admin:
        topics = wanted()
        brokers = len(admin.describe_cluster()["brokers"])
        there = _described(admin, [t.name for t in topics])
        done: dict[str, str] = {}
        for topic in topics:
            if topic.name not in there:
                done[topic.name] = "created" if _create(admin, topic, brokers) else "exists"
            elif len(there[topic.name]["partitions"]) < topic.partitions:
                admin.create_partitions({topic.name: topic.partitions})
                done[topic.name] = "raised"
            else:
                done[topic.name] = "exists"
        _wait_until_there(admin, topics, deadline)
        return done


def topic_ids(names: Iterable[str] | None = None) -> dict[str, str]:
    """{topic: Kafka's id of it}: a topic that was deleted and made anew has another one. Missing topics are left out.

    `names`: only these; by default all of ours. Raises KafkaUnavailable.
    """
    with _admin() as admin:
        there = _described(admin, [t.name for t in TOPICS] if names is None else list(names))
        return {name: str(topic["topic_id"]) for name, topic in there.items()}


def catalogue() -> dict[str, tuple[str, int]]:
    """{topic: (Kafka's id of it, number of partitions)} of those of ours that exist. Raises KafkaUnavailable."""
    with _admin() as admin:
        there = _described(admin, [t.name for t in TOPICS])
        return {name: (str(topic["topic_id"]), len(topic["partitions"])) for name, topic in there.items()}


def status() -> ClusterStatus:
    """Brokers and our topics as the cluster has them now. Raises KafkaUnavailable."""
    with _admin() as admin:
        cluster = admin.describe_cluster()
        there = _described(admin, [t.name for t in TOPICS])
        ends = admin.list_partition_offsets(
            {
                TopicPartition(name, p["partition_index"]): OffsetSpec.LATEST
                for name, topic in there.items()
                for p in topic["partitions"]
            }
        )
        return ClusterStatus(
            cluster_id=cluster["cluster_id"],
            brokers=[f"{b['host']}:{b['port']}" for b in cluster["brokers"]],
            topics=[
                TopicStatus(
                    name=name,
                    topic_id=str(topic["topic_id"]),
                    partitions=len(topic["partitions"]),
                    replication=len(topic["partitions"][0]["replica_nodes"]),
                    end_offsets={p.partition: found.offset for p, found in sorted(ends.items()) if p.topic == name},
                )
                for name, topic in sorted(there.items())
            ],
        )


@contextmanager
def _admin(timeout: float | None = None) -> Iterator[KafkaAdminClient]:
    """A connected admin client; every failure of Kafka inside leaves as KafkaUnavailable, in one line."""
    address = bootstrap()
    timeout = timeout or _TIMEOUT
    try:
        client = connected(
            KafkaAdminClient,
            bootstrap_servers=address.split(","),
            client_id="ginkgo-admin",
            request_timeout_ms=int(timeout * 1000),
            bootstrap_timeout_ms=min(5000, int(timeout * 1000)),
            reconnect_backoff_max_ms=1000,
        )
        try:
            yield client
        finally:
            client.close()
    except KafkaError as error:
        raise KafkaUnavailable(f"Kafka at {address} does not answer: {_short(error)}") from None


def _described(admin: KafkaAdminClient, names: list[str]) -> dict[str, Any]:
    return {t["name"]: t for t in admin.describe_topics(names) if t["error_code"] == 0}


def _create(admin: KafkaAdminClient, topic: Topic, brokers: int) -> bool:
    """Whether it was this call that created it: another process may do the same at the same time."""
    configured = settings.GINKGO.kafka.topics.get(topic.name)
    replication = (configured.replication_factor if configured else None) or (
        _FULL_REPLICATION if brokers >= _FULL_REPLICATION else 1
    )
    options: dict[str, Any] = {
        "num_partitions": topic.partitions,
        "replication_factor": replication,
        "configs": {"retention.ms": str(topic.retention_ms)},
    }
    try:
        answer = admin.create_topics({topic.name: options}, raise_errors=False)
    except TopicAlreadyExistsError:
        return False
    refused = for_code(answer["topics"][0]["error_code"])
    if refused is TopicAlreadyExistsError:
        return False
    if answer["topics"][0]["error_code"]:
        reason = answer["topics"][0].get("error_message") or refused.__name__
        raise KafkaUnavailable(f"Kafka refused to create topic {topic.name}: {reason}")
    return True


def _wait_until_there(admin: KafkaAdminClient, topics: Iterable[Topic], deadline: float) -> None:
    pause = threading.Event()
    while True:
        there = _described(admin, [t.name for t in topics])
        missing = [
            t.name
            for t in topics
            if t.name not in there
            or sum(p["error_code"] == 0 and p["leader_id"] >= 0 for p in there[t.name]["partitions"]) < t.partitions
        ]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise KafkaUnavailable(f"topics are not ready on all brokers: {', '.join(missing)}")
        pause.wait(0.1)
