"""Keys go where Kafka's own clients send them."""

from __future__ import annotations

import random

from kafka.partitioner.default import murmur2 as kafka_murmur2

from portfolios.partitioner import murmur2, partition_of


def test_the_hash_is_kafkas_for_keys_of_every_length() -> None:
    draw = random.Random(11)
    for length in range(0, 40):
        key = bytes(draw.randrange(256) for _ in range(length))
        assert murmur2(key) == kafka_murmur2(key) & 0xFFFFFFFF


def test_a_partition_is_the_hash_without_its_sign_modulo_their_number() -> None:
    for key in ("600519.SH", "000001.SZ", "a"):
        assert partition_of(key, 2**31) == kafka_murmur2(key.encode()) & 0x7FFFFFFF
        assert 0 <= partition_of(key, 3) < 3
