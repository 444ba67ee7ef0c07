"""`ginkgo probe`: does a process of the cluster live? For whoever restarts what does not: Docker, Kubernetes.

It asks Redis, where each process says every few seconds that it lives, and the pages themselves. A Redis that does not
answer is no sign of death: restarting every process for it would make an outage of one server an outage of all. It
needs no Django, so that it costs little.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ginkgo_site import addresses
from ginkgo_site.config import Config, ConfigurationError, load
from ginkgo_site.config_model import Web
from portfolios import exits

_WAIT = 2.0
_PATIENCE = 120.0
"""Seconds that a process may be silent, or three of its own intervals where that is longer."""
# Where each says it, as portfolios.livestate names them (that one needs Django), and in which fields.
_PLACES = {
    "scheduler": ("scheduler:status", ("last_check", "last_run")),
    "engine": ("engine:live:status", ("updated_at",)),
    "feed": ("feed:live:status", ("updated_at",)),
}
# The host, the port and a path that costs little.
_PAGES: dict[str, Callable[[Web], tuple[str, int, str]]] = {
    "web": lambda web: (web.host, web.port or 8000, "/api/"),
    "flower": lambda web: (web.flower_host, web.flower_port or 5555, "/healthcheck"),
}


def main(words: Sequence[str]) -> int:
    """The exit code; why, if it is not 0, is one line on stderr."""
    try:
        process, node_id = _parse(words)
        config, _ = load()
    except (ConfigurationError, ValueError) as error:
        sys.stderr.write(f"ginkgo: {error}\n")
        return exits.NOT_UNDERSTOOD
    if process in _PAGES:
        fault = answers(process, config)
    else:
        fault = look(process, node_id, config, datetime.now(UTC))
    if fault is None:
        return exits.DONE
    sys.stderr.write(f"ginkgo: {fault}\n")
    return exits.FAILED


def look(process: str, node_id: str, config: Config, now: datetime) -> str | None:
    """Why it does not live; None if it does, or if nobody can say."""
    url = addresses.resolve(config).redis
    if url is None:
        return "no Redis is configured and the embedded stack is not running"
    client = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=_WAIT, socket_connect_timeout=_WAIT, retry=Retry(NoBackoff(), 0)
    )
    try:
        if process == "node":
            there = client.exists(f"heartbeat:node:{node_id}")
            return None if there else f"node {node_id} has no heartbeat"
        key, fields = _PLACES[process]
        said: Mapping[str, str] = client.hgetall(key)  # type: ignore[assignment]
        return judge(process, [said.get(field, "") for field in fields], config, now)
    except redis.RedisError as error:
        sys.stderr.write(f"Redis does not answer ({type(error).__name__}): nobody knows\n")
        return None
    finally:
        client.close()


def answers(page: str, config: Config) -> str | None:
    """Why a page on this machine does not answer; None if it does, be it with a refusal."""
    host, port, path = _PAGES[page](config.web)
    connection = HTTPConnection("127.0.0.1" if host in ("0.0.0.0", "::") else host, port, timeout=_WAIT * 2)
    try:
        # As the proxy asks: else a public site would only answer that it wants https.
        connection.request("GET", path, headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
        status = connection.getresponse().status
        return None if status < 500 else f"{page} answers {status}"
    except (OSError, HTTPException) as error:
        return f"{page} does not answer at port {port}: {error or type(error).__name__}"
    finally:
        connection.close()


def judge(process: str, moments: Sequence[str], config: Config, now: datetime) -> str | None:
    """Whether the last of these moments (RFC 3339, or empty) is recent enough."""
    heard = [datetime.fromisoformat(moment) for moment in moments if moment]
    if not heard:
        return f"{process} has never been heard of"
    interval = config.scheduler.heartbeat_check_interval if process == "scheduler" else 1.0
    age = (now - max(heard)).total_seconds()
    if age <= max(_PATIENCE, 3 * interval):
        return None
    return f"{process} was last heard of {age:.0f} s ago"


def _parse(words: Sequence[str]) -> tuple[str, str]:
    """The process, and which one where it is a node. Raises ValueError."""
    process, rest = words[0] if words else "", list(words[1:])
    if rest and rest[0].startswith("--node-id="):
        rest = rest[0].split("=", 1) + rest[1:]
    if process not in ("node", *_PLACES, *_PAGES):
        fault = f"{process!r} is no process: say node, scheduler, engine, feed, web or flower"
    elif process == "node" and (len(rest) != 2 or rest[0] != "--node-id" or not rest[1]):
        fault = "which node? Give its --node-id"
    elif process != "node" and rest:
        fault = f"{process} takes no {rest[0]}"
    else:
        return process, rest[1] if rest else ""
    raise ValueError(f"{fault}. See 'ginkgo probe --help'.")
