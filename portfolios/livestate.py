"""The live view in Redis: the names of its keys (SPEC section 3) and the one client for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry


class RedisUnavailable(Exception):
    """No address of a Redis is known, or it does not answer."""


def heartbeat_key(node_id: str) -> str:
    return f"heartbeat:node:{node_id}"


def metrics_key(node_id: str) -> str:
    return f"node:metrics:{node_id}"


def node_info_key(node_id: str) -> str:
    return f"execution_node:{node_id}:info"


def node_left_key(node_id: str) -> str:
    """There only after the node has stopped in order, until the scheduler has seen it or the node is back."""
    return f"execution_node:{node_id}:left"


def status_key(portfolio_id: str) -> str:
    return f"portfolio:{portfolio_id}:status"


def state_key(portfolio_id: str) -> str:
    return f"portfolio:{portfolio_id}:state"


def decisions_key(portfolio_id: str) -> str:
    """A list of its newest decisions as JSON, the newest last."""
    return f"portfolio:{portfolio_id}:decisions"


def lag_of(metrics: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """`topic:partition` → messages and seconds a node is behind, from its metrics; empty if they do not say."""
    try:
        return _decode_lag(metrics.get("lag") or "{}")
    except msgspec.MsgspecError:
        return {}


_decode_lag = msgspec.json.Decoder(dict[str, tuple[int, float]]).decode
PLAN = "schedule:plan"
SCHEDULER_STATUS = "scheduler:status"
ENGINE_STATUS = "engine:live:status"
FEED_STATUS = "feed:live:status"


def node_plan_key(node_id: str) -> str:
    return f"schedule:node:{node_id}"


@lru_cache(maxsize=4)
def _client(url: str, timeout: float) -> redis.Redis:
    # No retries inside the client: whoever calls has a loop of its own, and a heartbeat must know at once.
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )


def client(timeout: float = 3.0) -> redis.Redis:
    """A thread-safe client that answers in `timeout` seconds or raises. Raises RedisUnavailable without an address."""
    url = settings.GINKGO_RESOLVE().redis
    if url is None:
        raise RedisUnavailable(
            "no Redis is configured and the embedded stack is not running: start it with 'ginkgo stack start'"
        )
    return _client(url, timeout)
