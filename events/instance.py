"""The heartbeat of a running instance of a stage, on `instances`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

# A heartbeat has the newest refused settings: a flood of them must not make it large.
MOST_REFUSALS = 10
# It names so many sources under the hide-rate guard, and cuts the reason after so many characters.
MOST_SOURCES = 10
REASON_CHARACTERS = 500

Count = Annotated[int, Meta(ge=0)]


class RefusedSetting(Struct, frozen=True, gc=False):
    """A setting that an instance refused: its key and offset in `config`, and why."""

    key: str
    offset: int
    reason: str


class RefusedRelease(Struct, frozen=True, gc=False):
    """A release that an instance refused: the model, the record's offset in `models`, and why."""

    model: str
    offset: int
    reason: str


class ModelDrift(Struct, frozen=True, gc=False):
    """Whether a quantity of a model looks as at the same hour of earlier days, or on them.

    Attributes
    ----------
    model, version, quantity
        What is watched; `version` is "" where the quantity does not depend on it.
    state
        "learning", "stable" or "drift".
    values
        How many came in this hour.
    index
        The population stability index of this hour; None while there are too few values.
    shift
        How far the mean rank among the values of earlier days is from a half.
    reason
        What the state rests on; "" when stable.
    """

    model: str
    version: str
    quantity: str
    state: Literal["learning", "stable", "drift"]
    values: int
    index: float | None
    shift: float
    reason: str


class PartitionLag(Struct, frozen=True, gc=False):
    """How far a worker is with a partition that its group gave it.

    Attributes
    ----------
    topic, partition
        `posts` or `engagements`, without the prefix.
    lag
        How many offsets lie ahead.
    late_ms
        For how many ms something has been there that is not read, once it is more than 5 s.
    why
        What holds it back, where that is known.
    """

    topic: str
    partition: int
    lag: int
    late_ms: int = 0
    why: str = ""


class ComparedPosts(Struct, frozen=True, gc=False):
    """What the gate does to posts that two versions judged, an author and a text once an hour.

    Attributes
    ----------
    posts
        How many both judged.
    hidden_more, hidden_less
        How many of them the candidate alone hides, and the version in force alone.
    stopped_more, stopped_less
        How many the candidate alone demotes or hides, and the version in force alone.
    """

    posts: Count = 0
    hidden_more: Count = 0
    hidden_less: Count = 0
    stopped_more: Count = 0
    stopped_less: Count = 0

    def plus(self, other: ComparedPosts) -> ComparedPosts:
        """Return the posts of both."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return ComparedPosts(*(mine + theirs for mine, theirs in pairs))


class RunningCandidate(Struct, frozen=True, gc=False):
    """A candidate that an instance has loaded.

    Attributes
    ----------
    version, offset
        The version, and the record of `models` that began it.
    compared
        By partition of `posts` that the instance owns, how it differs from the version in force.
    """

    version: str
    offset: int
    compared: dict[int, ComparedPosts] = {}


class LegTimes(Struct, frozen=True, gc=False):
    """How long one leg of records took in the last minute: quantiles, and records a second.

    A quantile above the highest bound of the histogram is that bound.
    """

    p50_ms: float
    p99_ms: float
    per_second: float


class Instance(Struct, frozen=True, omit_defaults=False):
    """A heartbeat of an instance; an empty value says that it has stopped.

    Attributes
    ----------
    stage, instance
        The stage, and the id of its instance.
    host, pid, build
        Where it runs, and which build.
    config_offset
        The last record of `config` that it applied or refused; -1 before the first.
    refused
        The last settings that it refused, at most `MOST_REFUSALS`.
    models
        By signal, the version of its model.
    models_offset
        The last record of `models` that it runs or refused; -1 before the first.
    refused_releases
        The releases that it refused.
    waiting_releases
        The releases whose artifacts the store does not give at present; it asks again.
    drift
        What `feedmill models watch` says of models; empty of everyone else.
    candidates
        By signal, the version that is tried, and how it differs from the version in force.
    group
        The consumer group of a worker, "" of another program: two groups with one stage are wrong.
    partitions
        The partitions of `posts` and `engagements` that a worker reads, and how far it is.
    ready
        Whether it has caught up and works.
    lag
        How many records it is behind.
    at_ms
        When it said so, Unix milliseconds.
    reason
        Why it is not ready, "" when it is; at most `REASON_CHARACTERS`.
    memory_mib
        The resident memory of its process; None where the system does not say.
    legs
        By topic and leg how long records took; those without a record in the last minute are left
        out.  See docs/metrics.md.
    capped_sources, capped_count
        Sources of which a filter hides too much, so that it demotes there, or of engagement those
        that are brigaded: the names of at most `MOST_SOURCES`, and how many there are.
    refused_writes
        How many writes of feeds and posts Redis refused since the start: a newer owner has them.
    shards
        Of a combiner the shards of `feed-shards` that it ranks and writes.
    logs_lag
        Of a combiner how many records of the topics that it follows it has not read.
    leaving
        The partitions of a worker that is about to stop: others read ahead what they may get.
    """

    stage: str
    instance: str
    host: str
    pid: int
    build: str
    config_offset: int
    refused: tuple[RefusedSetting, ...]
    models: dict[str, str]
    ready: bool
    lag: int
    at_ms: int
    models_offset: int = -1
    refused_releases: tuple[RefusedRelease, ...] = ()
    drift: tuple[ModelDrift, ...] = ()
    candidates: dict[str, RunningCandidate] = {}
    waiting_releases: tuple[RefusedRelease, ...] = ()
    group: str = ""
    partitions: tuple[PartitionLag, ...] = ()
    reason: str = ""
    memory_mib: int | None = None
    legs: dict[str, dict[str, LegTimes]] = {}
    capped_sources: tuple[str, ...] = ()
    capped_count: int = 0
    refused_writes: int = 0
    shards: tuple[int, ...] = ()
    logs_lag: int = 0
    leaving: tuple[int, ...] = ()
