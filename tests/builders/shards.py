"""Names of feeds that share a shard, since places are shared out by shard."""

from functools import cache
from itertools import count, islice

from feedmill.events.partition import SHARDS, shard_of


@cache
def communities(start: str, most: int, shard: int = 0) -> tuple[str, ...]:
    """So many communities whose names begin alike, the feeds of which are in one shard."""
    names = (f"{start}{number}" for number in count())
    found = (name for name in names if shard_of(f"community:{name}") == shard)
    return tuple(islice(found, most))


def places(in_each: int) -> dict[str, int]:
    """The setting of a pattern that has so many places in each shard."""
    return {"max_feeds": in_each * SHARDS}
