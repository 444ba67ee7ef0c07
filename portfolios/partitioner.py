"""Kafka's default partitioner: the partition that every producer of ours, Java's and kafka-python's gives a key.

Ours, because all of kafka-python comes with its murmur2, and that is a tenth of what a command takes to start.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def partition_of(key: str, partitions: int) -> int:
    """The partition of `key` in a topic of so many."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


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
