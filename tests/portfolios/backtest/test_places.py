"""A backtest's causes stand where the live log would have them."""

from __future__ import annotations

import random
import string

import pytest

from market.topics import market_topic
from portfolios.backtest.places import locate
from portfolios.partitioner import partition_of


@pytest.mark.parametrize("suffix", [".SH", ".SZ", ".BJ", ".HK", ".US", ".CFX"])
@pytest.mark.parametrize("partitions", [1, 10])
def test_topic_and_partition_are_those_of_the_live_log(suffix: str, partitions: int) -> None:
    draw = random.Random(suffix)
    for _ in range(20):
        code = "".join(draw.choices(string.digits, k=6)) + suffix
        assert locate(code, partitions) == (market_topic(code), partition_of(code, partitions))
