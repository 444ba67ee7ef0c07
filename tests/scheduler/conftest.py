"""A herd of nodes as the scheduler sees them: keys in a real Redis, queues in a real broker, rows in the database."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User

from market import topic_admin
from portfolios import livestate
from portfolios.models import Assignment, Checkpoint, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from portfolios.ownership import Ownership
from scheduler import wires
from scheduler.models import RedisWatch
from tests.support.stack import RunningStack


class Herd:
    """Nodes reduced to what they write in Redis, which is all that the scheduler knows of a node."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client

    def beat(
        self, *node_ids: str, state: str = "running", instance: str = "first", places: int = 5, **metrics: Any
    ) -> None:
        for node_id in node_ids:
            info = {
                "instance": instance,
                "state": state,
                "max_portfolios": places,
                "host": "h",
                "pid": 7,
                "version": "1",
            }
            self.redis.set(livestate.heartbeat_key(node_id), datetime.now(UTC).isoformat(), ex=30)
            self.redis.hset(livestate.node_info_key(node_id), mapping=info)
            self.redis.hset(livestate.metrics_key(node_id), mapping={"queue_size": 0, "cpu_usage": 1.5, **metrics})

    def die(self, *node_ids: str) -> None:
        """As a killed node whose heartbeat has expired: the rest of its keys stays behind."""
        for node_id in node_ids:
            self.redis.delete(livestate.heartbeat_key(node_id))

    def leave(self, node_id: str) -> None:
        """As a node that stops in order: it says so, and takes its keys along."""
        self.redis.set(livestate.node_left_key(node_id), "first")
        self.redis.delete(*(key(node_id) for key in _KEYS))

    def queue(self, node_id: str) -> list[dict[str, Any]]:
        """The commands waiting on a node's Celery queue, oldest first."""
        messages = [json.loads(raw) for raw in self.redis.lrange(f"node.{node_id}", 0, -1)]
        return [json.loads(base64.b64decode(m["body"]))[1] for m in reversed(messages)]


_KEYS: tuple[Callable[[str], str], ...] = (
    livestate.heartbeat_key,
    livestate.metrics_key,
    livestate.node_info_key,
)


class Clock:
    """A clock a test can put forward; it stands still otherwise."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def servers(stack: RunningStack) -> Iterator[RunningStack]:
    topic_admin.create_topics()
    yield stack
    wires.close()


@pytest.fixture
def herd(servers: RunningStack, db: None) -> Herd:
    client = livestate.client()
    client.flushdb()
    # As if this Redis had been watched for long: it is a few seconds old, and would be doubted.
    RedisWatch.objects.create(name="redis", run_id=client.info("server")["run_id"])
    return Herd(client)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def portfolio(db: None) -> Callable[..., str]:
    """Make a portfolio; its id. It shall run and is nobody's unless said otherwise."""
    owner = User.objects.create_user("trader")

    def make(
        name: str,
        node_id: str = "",
        epoch: int = 0,
        market: str = "cn",
        desired_state: str = DesiredState.RUNNING,
        status: str = Status.CREATED,
    ) -> str:
        made = Portfolio.objects.create(
            id=name, name=name, owner=owner, market=market, initial_cash=1, config={"codes": ["600519.SH"]},
            desired_state=desired_state, status=status,
        )  # fmt: skip
        Assignment.objects.create(portfolio=made, node_id=node_id, epoch=epoch)
        Checkpoint.objects.create(portfolio=made, epoch=epoch)
        return name

    return make


def owner_of(portfolio_id: str) -> Ownership:
    row = Assignment.objects.get(portfolio_id=portfolio_id)
    return Ownership(portfolio_id, row.node_id, row.epoch)
