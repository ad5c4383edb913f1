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
    """How far a worker is with a partition that its group gave it: see `Instance`.

    `lag` counts offsets; `late_ms` is 0 until something is unread for more than 5 s.
    """

    topic: str
    partition: int
    lag: int
    late_ms: int = 0
    why: str = ""


class ComparedPosts(Struct, frozen=True, gc=False):
    """What the gate does to posts that two versions judged, an author and a text once an hour.

    The fields are those of `compared` in docs/contracts.md, "Models".
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

    The fields are those of docs/contracts.md, "Instances".
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
