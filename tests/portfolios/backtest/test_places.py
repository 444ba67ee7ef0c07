"""A backtest's causes stand where the live log would have them."""

from __future__ import annotations

import random
import string

import pytest
from kafka.partitioner.default import murmur2 as kafka_murmur2

from market.bus import partition_of
from market.topics import market_topic
from portfolios.backtest.places import locate, murmur2


def test_the_hash_is_kafkas_for_keys_of_every_length() -> None:
    draw = random.Random(11)
    for length in range(0, 40):
        key = bytes(draw.randrange(256) for _ in range(length))
        assert murmur2(key) == kafka_murmur2(key) & 0xFFFFFFFF


@pytest.mark.parametrize("suffix", [".SH", ".SZ", ".BJ", ".HK", ".US", ".CFX"])
@pytest.mark.parametrize("partitions", [1, 10])
def test_topic_and_partition_are_those_of_the_live_log(suffix: str, partitions: int) -> None:
    draw = random.Random(suffix)
    for _ in range(20):
        code = "".join(draw.choices(string.digits, k=6)) + suffix
        assert locate(code, partitions) == (market_topic(code), partition_of(code, partitions))
