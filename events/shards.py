"""Which shard a feed, and what is written of a post, belongs to, for ever."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from feedmill.events.partition import partition_of, partitions_of

# As many as `feed-shards` has partitions.
SHARDS = 64
ALL_SHARDS = frozenset(range(SHARDS))


@lru_cache(maxsize=65_536)
def shard_of(name: str) -> int:
    """Return the shard of a feed or of a post, by its name or id."""
    return partition_of(name.encode("utf-8", "surrogatepass"), SHARDS)


def shards_of(names: Iterable[str]) -> list[int]:
    """Return the shards of many, which are not likely to be asked for again."""
    keys = [name.encode("utf-8", "surrogatepass") for name in names]
    shards: list[int] = partitions_of(keys, SHARDS).tolist()
    return shards
