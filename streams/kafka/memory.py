"""A worker's limit of memory, FEEDMILL_MEMORY_MIB, shared out to the places where records wait.

Keys count like values, and what a record costs beside them counts too: a flood of tombstones is
nothing else.  librdkafka counts values alone, so its queues are bounded by what one fetch brings: a
consumer asks for no more while records wait to be taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from feedmill.streams.settings.environment import Environment

_MIB = 1024 * 1024


@dataclass(frozen=True)
class MemoryShares:
    """Parts of the limit.

    Attributes
    ----------
    fetch_bytes
        What one fetch brings, compressed: all of it is inflated at once, and a byte may become
        24,000.  A batch that is larger comes alone.
    waiting_posts
        While so many posts wait to be taken, no more are fetched: each may have 1 MiB.
    backlog_bytes
        Posts that wait for those of other partitions.
    uncommitted_bytes
        What is not committed yet, dead letters left out.
    letter_bytes
        Dead letters that are not committed yet, or wait until this worker may write them.
    """

    fetch_bytes: int
    waiting_posts: int
    backlog_bytes: int
    uncommitted_bytes: int
    letter_bytes: int


def memory_shares(environment: Environment) -> MemoryShares:
    """Share out the limit of a process."""
    limit = environment.memory_mib * _MIB
    return MemoryShares(
        fetch_bytes=limit // 32_768,
        waiting_posts=limit // 16 // _MIB,
        backlog_bytes=limit // 8,
        uncommitted_bytes=limit // 4,
        letter_bytes=limit // 32,
    )
