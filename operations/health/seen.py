"""What was seen of a running installation at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from feedmill.events.instance import Instance
from feedmill.events.signal import SignalNames, stage_of
from feedmill.streams.ranking.feed_freshness import SEEN_WITHIN_MS
from feedmill.streams.redis.reader import State


@dataclass(frozen=True)
class Beat:
    """The last heartbeat of an instance of a stage, which did not say that it stopped.

    Attributes
    ----------
    at_ms
        When the broker stored it.
    refused_writes
        How many writes Redis refused in the last minute.
    started_ms
        When the broker stored the first one of the process.
    unsettled_ms
        Since when it has been starting or in a rebalance; 0 once it is ready and has what it had.
    """

    at_ms: int
    instance: Instance
    refused_writes: int = 0
    started_ms: int = 0
    unsettled_ms: int = 0


@dataclass(frozen=True)
class KafkaState:
    """What Kafka tells.

    Attributes
    ----------
    now_ms
        The broker's time.
    beats
        The last heartbeats, at most an hour old.
    partitions
        How many partitions `posts` and `engagements` have.
    waiting
        By topic and partition how many records a group of workers has not committed, the one that
        is least behind.
    settings
        By key of `config` the offset of its last record.
    unanswered
        By signal that no worker writes, and partition, how many of the newest posts lack it.
    rejected
        By topic how many records broke the contract in the last hour.
    """

    now_ms: int
    beats: tuple[Beat, ...]
    partitions: int
    waiting: Mapping[tuple[str, int], int] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    unanswered: Mapping[tuple[str, int], int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)

    @property
    def living(self) -> tuple[Beat, ...]:
        """Those that count: feeds are not fresh by older ones."""
        return tuple(beat for beat in self.beats if self.now_ms - beat.at_ms <= SEEN_WITHIN_MS)

    @property
    def silent(self) -> tuple[Beat, ...]:
        """The others."""
        return tuple(beat for beat in self.beats if self.now_ms - beat.at_ms > SEEN_WITHIN_MS)

    @property
    def log_now_ms(self) -> int:
        """The time as workers go by: they refuse a jump of the broker's clock."""
        newest = max(self.living, key=lambda beat: beat.at_ms, default=None)
        if newest is None:
            return self.now_ms
        return newest.instance.at_ms + self.now_ms - newest.at_ms


@dataclass(frozen=True)
class FeedState:
    """A feed in Redis: for how long it is fresh still, and the stages that it depends on."""

    feed: str
    state: State
    fresh_for_ms: int
    stages: frozenset[str]


@dataclass(frozen=True)
class RedisState:
    """What Redis tells: its feeds, its memory, and the limit of that (0: none)."""

    feeds: tuple[FeedState, ...]
    used_bytes: int
    max_bytes: int


class Trouble(NamedTuple):
    """Why Kafka or Redis tells nothing, and the way out."""

    what: str
    way_out: str


@dataclass(frozen=True)
class Seen:
    """All of it; where Kafka or Redis tells nothing, why not."""

    names: SignalNames
    kafka: KafkaState | None
    redis: RedisState | None
    kafka_trouble: Trouble | None = None
    redis_trouble: Trouble | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The stages without whose signals feeds are not fresh; all, where no feed says so."""
        feeds = () if self.redis is None else self.redis.feeds
        behind = frozenset[str]().union(*(feed.stages for feed in feeds))
        stages = dict.fromkeys(map(stage_of, self.names.all))
        return tuple(stage for stage in stages if stage in behind or not feeds)
