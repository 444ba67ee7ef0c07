"""Where a code's prices would stand in the live log, so that a backtest names its orders as the live path does.

Topics and partitioner are those of SPEC section 3: the key is the code, its partition Kafka's default (murmur2).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from portfolios.kernel.codes import market_of

PARTITIONS = 10
"""Of a market's topic, where the configuration says nothing else."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every price."""

_TOPIC = "ginkgo.live.market.data"
_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


Locate: TypeAlias = Callable[[str], Place]
"""The place of a code."""


def locate(code: str, partitions: int = PARTITIONS) -> Place:
    """Where the live log has the prices of `code`."""
    market = market_of(code)
    topic = _TOPIC if market == "cn" else f"{_TOPIC}.{market}"
    return Place(topic, (murmur2(code.encode()) & 0x7FFFFFFF) % partitions)


def murmur2(data: bytes) -> int:
    """MurmurHash2 of 32 bits with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2), unsigned."""
    length = len(data)
    whole = length & ~3
    value = 0x9747B28C ^ length
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        value = value * _M & _MASK ^ ((word ^ word >> 24) * _M & _MASK)
    if whole < length:
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15
