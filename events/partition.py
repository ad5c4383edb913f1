"""The partition of a key, by murmur2 as in Kafka's Java client, and the shard of a name."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from struct import unpack_from

import numpy as np
import numpy.typing as npt

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
# For fewer keys, hashing them one by one is faster.
_FEW_KEYS = 24


@lru_cache(maxsize=65_536)
def murmur2(key: bytes) -> int:
    """Return the hash of ``org.apache.kafka.common.utils.Utils.murmur2``, unsigned 32-bit.

    It is Austin Appleby's MurmurHash2 with the seed of Kafka's client.
    """
    length = len(key)
    h = _SEED ^ length
    words = length >> 2
    for word in unpack_from(f"<{words}I", key):
        k = (word * _M) & _MASK
        h = ((h * _M) ^ ((k ^ (k >> 24)) * _M)) & _MASK
    if rest := key[words << 2 :]:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition in [0, partitions) of a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2_many(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """Return `murmur2` of many keys at once: (len(keys),) uint32."""
    lengths = np.fromiter(map(len, keys), np.uint32, len(keys))
    longest = int(lengths.max(initial=0))
    width = (longest + 3) // 4 * 4
    if (lengths == longest).all():
        # As ids mostly are: they are padded in one call.
        padding = bytes(width - longest)
        padded = padding.join(keys) + padding
    else:
        padded = b"".join([key.ljust(width, b"\0") for key in keys])
    words = np.frombuffer(padded, "<u4").reshape(len(keys), width // 4).T.copy()
    h = np.uint32(_SEED) ^ lengths
    m = np.uint32(_M)
    whole = lengths >> 2
    rest = (lengths & 3) != 0
    # All keys have so many whole words.
    shortest = int(whole.min(initial=0 if not keys else width))
    for i in range(shortest):
        k = words[i] * m
        k ^= k >> 24
        k *= m
        h *= m
        h ^= k
    for i in range(shortest, width // 4):
        k = words[i] * m
        k ^= k >> 24
        mixed = (h * m) ^ (k * m)
        tail = (h ^ words[i]) * m
        h = np.where(i < whole, mixed, np.where(rest & (i == whole), tail, h))
    h ^= h >> 13
    h *= m
    hashed: npt.NDArray[np.uint32] = (h ^ (h >> 15)).astype(np.uint32, copy=False)
    return hashed


def partitions_of(keys: Sequence[bytes], partitions: int) -> npt.NDArray[np.int64]:
    """Return `partition_of` of many keys: (len(keys),) int64."""
    if len(keys) < _FEW_KEYS:
        return np.array([partition_of(key, partitions) for key in keys], np.int64)
    return (murmur2_many(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions


# As many as `feed-shards` has partitions.
SHARDS = 64
ALL_SHARDS = frozenset(range(SHARDS))


@lru_cache(maxsize=65_536)
def shard_of(name: str) -> int:
    """Return the shard of a feed or of a post, by its name or id."""
    return partition_of(name.encode("utf-8", "surrogatepass"), SHARDS)


def shards_of(names: Iterable[str]) -> list[int]:
    """Return the shards of many: one after the other, ten thousand would take 20 ms."""
    keys = [name.encode("utf-8", "surrogatepass") for name in names]
    shards: list[int] = partitions_of(keys, SHARDS).tolist()
    return shards


def of_shards(names: Iterable[str], shards: Container[int]) -> list[str]:
    """Return those of many names, in their order, that are of these shards."""
    names = list(names)
    return [name for name, shard in zip(names, shards_of(names), strict=True) if shard in shards]
