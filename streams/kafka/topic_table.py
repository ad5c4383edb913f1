"""The topics of an installation, with their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MIB = 1024 * 1024

DEFAULT_PARTITIONS = 4
# What a backup has; settings come before what they are about.
KEPT = ("config", "models", "overrides", "labels", "audit")
# Each partition costs a broker open files and memory.
MAX_PARTITIONS = 1024
# The longest built-in feed window (`window_hours` 168) and one more day.
WINDOW_MS = 8 * DAY_MS
# The largest record of an event topic; far above what the limits of events allow.
EVENT_BYTES = MIB
# A dead letter holds up to 1 MiB of a rejected record, a key and headers.
DEAD_LETTER_BYTES = 4 * MIB
# A record of `audit` has a setting as it was and as it is.
AUDIT_BYTES = 2 * MIB

Partitions = Literal["P"] | int


@dataclass(frozen=True)
class TopicSpec:
    """One topic.

    Attributes
    ----------
    name
        Without the prefix.
    partitions
        A number, or "P" for the number of partitions of the installation.
    settings
        Settings of the topic by Kafka's names.
    """

    name: str
    partitions: Partitions
    settings: Mapping[str, str] = field(hash=False)

    def count(self, partitions: int) -> int:
        """The number of partitions in an installation with `partitions` of them."""
        return partitions if self.partitions == "P" else self.partitions


def topic_table(signals: Sequence[str]) -> tuple[TopicSpec, ...]:
    """Every topic of an installation; `signals` are the names of its signals, built in or not."""
    return (
        TopicSpec(
            "posts",
            "P",
            # Tombstones stay for the whole window, so that no reader misses a deletion. Superseded
            # versions stay for two hours: filters read them again to restore their memory.
            _view(WINDOW_MS, min_lag_ms=2 * HOUR_MS) | {"delete.retention.ms": str(WINDOW_MS)},
        ),
        TopicSpec("engagements", "P", _log(WINDOW_MS, segment_ms=6 * HOUR_MS)),
        TopicSpec("exposures", "P", _log(WINDOW_MS, segment_ms=6 * HOUR_MS)),
        *(TopicSpec(f"signals.{name}", "P", _view(WINDOW_MS)) for name in signals),
        # A new owner has an hour to read what a paused former owner still writes.
        TopicSpec("counters", "P", _view(WINDOW_MS, min_lag_ms=HOUR_MS)),
        # Kept as long as the engagements that it is compared with.
        TopicSpec("features", "P", _log(WINDOW_MS, segment_ms=6 * HOUR_MS)),
        # A ranker that was paused for less misses no withdrawal.
        TopicSpec("overrides", 1, _compacted() | {"delete.retention.ms": str(31 * DAY_MS)}),
        TopicSpec("labels", "P", _log(365 * DAY_MS, segment_ms=7 * DAY_MS)),
        # Stages apply all records from the first one on, so none may ever be removed.
        TopicSpec("config", 1, _log(-1, segment_ms=7 * DAY_MS)),
        # Releases are few, and a rollback needs the earlier ones.
        TopicSpec("models", 1, _log(-1, segment_ms=7 * DAY_MS)),
        # Audits look back for years.  A record also has the value that was in force before.
        TopicSpec("audit", 1, _log(-1, segment_ms=7 * DAY_MS, max_bytes=AUDIT_BYTES)),
        # Several challengers speak of one post, so the key alone may not replace a record.
        TopicSpec("shadow", "P", _log(WINDOW_MS, segment_ms=6 * HOUR_MS)),
        TopicSpec("instances", 1, _view(DAY_MS, segment_mib=1)),
        TopicSpec("rankings", "P", _log(30 * DAY_MS, segment_ms=DAY_MS)),
        # Always empty: the assignment of its partitions decides who writes which feeds.
        TopicSpec("feed-shards", 64, _log(DAY_MS, segment_ms=DAY_MS)),
        TopicSpec("dead-letters", 1, _log(14 * DAY_MS, DAY_MS, max_bytes=DEAD_LETTER_BYTES)),
        # A record comes after its post, so it is kept as long as the post.
        TopicSpec("poison", 1, _view(WINDOW_MS, segment_mib=1)),
        TopicSpec("follows", "P", _compacted()),
    )


_ALL_HAVE = {
    # The broker's time: no producer can set a wrong time, and no host's clock matters.
    "message.timestamp.type": "LogAppendTime",
    # Age alone removes records, whatever the broker's default is.
    "retention.bytes": "-1",
    # The only codec that librdkafka inflates up to a bound; see batch_headers.py.
    "compression.type": "zstd",
}


def _log(retention_ms: int, segment_ms: int, max_bytes: int = EVENT_BYTES) -> dict[str, str]:
    """A log: records are dropped by age, a segment at a time, by its newest record."""
    return {
        **_ALL_HAVE,
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "segment.bytes": str(64 * MIB),
        "segment.ms": str(segment_ms),
        "max.message.bytes": str(max_bytes),
    }


def _view(retention_ms: int, min_lag_ms: int = 0, segment_mib: int = 16) -> dict[str, str]:
    """A table: the last record of each key, for a limited time.

    Readers start at the beginning, so superseded records slow down every start. Kafka compacts
    only closed segments; hence segments are small and closed often.
    """
    return {
        **_ALL_HAVE,
        "cleanup.policy": "compact,delete",
        "retention.ms": str(retention_ms),
        "segment.bytes": str(segment_mib * MIB),
        "segment.ms": str(10 * MINUTE_MS),
        "min.cleanable.dirty.ratio": "0.3",
        "min.compaction.lag.ms": str(min_lag_ms),
        "max.compaction.lag.ms": str(min_lag_ms + 30 * MINUTE_MS),
        "max.message.bytes": str(EVENT_BYTES),
    }


def _compacted() -> dict[str, str]:
    """A table without a time limit: the last record of each key."""
    return {
        **_ALL_HAVE,
        "cleanup.policy": "compact",
        "segment.bytes": str(16 * MIB),
        "segment.ms": str(HOUR_MS),
        "max.compaction.lag.ms": str(DAY_MS),
        "max.message.bytes": str(EVENT_BYTES),
    }
