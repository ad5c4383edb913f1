"""Events for tests, each with defaults for whatever a test does not care about."""

import json
from collections.abc import Iterable
from typing import Any

from feedmill.events.engagement import EngagementKind
from feedmill.events.instance import Instance
from feedmill.events.override import Override, OverrideVerdict
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.counters import Counters, update

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def post(
    post_id: str = "p",
    text: str = "A walk by the river",
    author_id: str = "ann",
    created_at_ms: int = NOW_MS,
    **more: Any,
) -> Post:
    """Return a post; `more` are optional fields of the contract."""
    return Post(post_id, author_id, created_at_ms, text, **more)


def posts_of(texts: Iterable[str]) -> list[Post]:
    """Return a post for each text: p0, p1, …"""
    return [post(f"p{i}", text) for i, text in enumerate(texts)]


def signal(
    post_id: str = "p",
    post_offset: int = 0,
    value: float | None = 0.5,
    *,
    model: str = "m",
    version: str = "1",
    at_ms: int = NOW_MS,
    error: str | None = None,
    revision: int = 0,
) -> Signal:
    """Return a signal; without a value it is one of a failure, and has an error."""
    if value is None and error is None:
        error = "failed"
    return Signal(post_id, post_offset, value, model, version, at_ms, error, revision=revision)


def override(
    verdict: OverrideVerdict,
    *,
    by: str = "mo",
    reason: str = "",
    at_ms: int = 0,
    expires_at_ms: int | None = None,
    post_offset: int | None = None,
) -> Override:
    """Return a moderator's decision: without an end and of every version, by default."""
    return Override(verdict, by, reason, at_ms, expires_at_ms, post_offset)


def heartbeat(stage: str = "spam", instance: str = "1", **more: Any) -> Instance:
    """Return what a worker that is well says on `instances`; `more` are other fields."""
    said = {"host": "here", "pid": 1, "build": "test", "config_offset": -1, "refused": ()}
    said |= {"models": {}, "ready": True, "lag": 0, "at_ms": NOW_MS}
    return Instance(stage, instance, **{**said, **more})


# The value of `weights` under which the engagement stage writes no signal but its own.
NO_COSTS = {"quality": 0.5, "engagement": 0.5, "costs": {"hide": 0, "report": 0}}


def settings_of(
    *records: tuple[str, Any], names: SignalNames | None = None, before: Settings | None = None
) -> Settings:
    """Fold values, by their key and in this order; None removes the setting.

    They follow `before`, else the built-in settings, each at the next offset.
    """
    folded = before or Settings(names or SignalNames())
    for key, value in records:
        record = None if value is None else json.dumps({"value": value}).encode()
        folded = folded.fold(key.encode(), record, folded.offset + 1)
    return folded


def counters_of(*events: tuple[EngagementKind, int], at_ms: int = 1_000) -> Counters:
    """Return the counts of so many events of each kind, all at one moment."""
    counted = Counters()
    for kind, count in events:
        for _ in range(count):
            update(counted, kind, at_ms)
    return counted
