"""The partition that librdkafka chooses for a key, for those who must know it before a record is sent.

Source: rdmurmur2.c, rdfnv1a.c and rdcrc32.h of librdkafka; murmur2 is what Kafka's own Java clients use.
"""

import zlib
from collections.abc import Callable
from functools import lru_cache


def _murmur2(key: bytes) -> int:
    mixer, mask = 0x5BD1E995, 0xFFFFFFFF
    whole = len(key) & ~3
    result = (0x9747B28C ^ len(key)) & mask
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mixer & mask
        word = (word ^ word >> 24) * mixer & mask
        result = result * mixer & mask ^ word
    if rest := key[whole:]:
        result = (result ^ int.from_bytes(rest, "little")) * mixer & mask
    result = (result ^ result >> 13) * mixer & mask
    return (result ^ result >> 15) & 0x7FFFFFFF


def _fnv1a(key: bytes) -> int:
    result = 0x811C9DC5
    for byte in key:
        result = (result ^ byte) * 0x01000193 & 0xFFFFFFFF
    return result if result < 1 << 31 else (1 << 32) - result  # the absolute value of a signed number


_HASHES: dict[str, Callable[[bytes], int]] = {
    "murmur2": _murmur2,
    "murmur2_random": _murmur2,
    "consistent": zlib.crc32,
    "consistent_random": zlib.crc32,
    "fnv1a": _fnv1a,
    "fnv1a_random": _fnv1a,
}
"""By librdkafka's ``partitioner``. With ``random`` no key has a partition of its own."""


@lru_cache(maxsize=10_000)
def partition_of(key: bytes, partitions: int, partitioner: str) -> int | None:
    """The number of the partition of so many; None if this partitioner does not go by keys. Thread-safe, pure."""
    find = _HASHES.get(partitioner)
    return find(key) % partitions if find else None
