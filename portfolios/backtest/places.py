"""Where a code's prices would stand in the live log, so that a backtest names its orders as the live path does.

Topics and partitioner are those of SPEC section 3: the key is the code, its partition Kafka's default (murmur2).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from portfolios.kernel.codes import market_of
from portfolios.partitioner import partition_of

PARTITIONS = 10
"""Of a market's topic, where the configuration says nothing else."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every price."""

_TOPIC = "ginkgo.live.market.data"


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
    return Place(topic, partition_of(code, partitions))
