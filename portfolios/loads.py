"""What each portfolio costs where it runs: measured by its node, read by the scheduler, kept in one Redis hash.

One hash for all and not one a node: a figure outlives the node that measured it, so that a successor is chosen by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import redis

KEY = "portfolio:loads"
"""Hash: portfolio_id → JSON of a Measured."""


class Measured(msgspec.Struct, frozen=True):
    """Smoothed over a minute: events a second, percent of a core, events that waited."""

    rate: float = 0.0
    cpu: float = 0.0
    queue: float = 0.0


_decode = msgspec.json.Decoder(Measured).decode


def write(client: redis.Redis, measured: Mapping[str, Measured]) -> None:
    """Raises redis.RedisError."""
    if measured:
        client.hset(KEY, mapping={portfolio_id: msgspec.json.encode(one) for portfolio_id, one in measured.items()})


def read(client: redis.Redis) -> dict[str, Measured]:
    """All there are; one that cannot be read counts as not measured. Raises redis.RedisError."""
    found: dict[str, Measured] = {}
    said: dict[str, str] = client.hgetall(KEY)  # type: ignore[assignment]
    for portfolio_id, text in said.items():
        try:
            found[portfolio_id] = _decode(text)
        except msgspec.MsgspecError:
            continue
    return found


def forget(client: redis.Redis, portfolio_ids: Collection[str]) -> None:
    """Raises redis.RedisError."""
    if portfolio_ids:
        client.hdel(KEY, *portfolio_ids)
