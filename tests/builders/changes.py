"""Changes for Redis, each with defaults for whatever a test does not care about."""

from collections.abc import Mapping, Sequence
from typing import Any

from builders.events import HOUR_MS, settings_of
from builders.waiting import now_ms
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.weights import Weights
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.write_batch import WriteBatch

SETTINGS = settings_of()


def weights_of(quality: float) -> Weights:
    """Return the default weights with this one of quality, to know a weighting by."""
    setting = {"quality": quality, "engagement": 1}
    return settings_of(("weights", setting)).weights_of("global")


def whole_feed(
    feed: str,
    scores: Mapping[str, float],
    *,
    weights: Weights | None = None,
    config_offset: int = 3,
) -> FeedChange:
    """Return the change that writes a feed whole."""
    entries = sorted(scores.items(), key=lambda entry: -entry[1])
    ranked_by = weights or SETTINGS.weights_of(feed)
    return FeedChange(
        *(feed, True, entries, (), len(entries)), ranked_by, SETTINGS.gates_of(feed), config_offset
    )


def feed_change(
    feed: str, scores: Mapping[str, float], removed: Sequence[str] = (), *, size: int
) -> FeedChange:
    """Return the change of some members, after which the feed has `size`."""
    return FeedChange(
        *(feed, False, list(scores.items()), tuple(removed), size),
        SETTINGS.weights_of(feed),
        SETTINGS.gates_of(feed),
        3,
    )


def whole_post(post_id: str, **fields: str) -> SignalsChange:
    """Return the change that writes all that is true of a post."""
    usual = {"post": "7 1700000000000 5", "author_id": "ann", "decision": "show"}
    return SignalsChange(post_id, now_ms() + HOUR_MS, True, {**usual, **fields}, 7)


def post_change(post_id: str, *, post_offset: int = 7, **fields: str) -> SignalsChange:
    """Return the change of some fields of a post."""
    return SignalsChange(post_id, now_ms() + HOUR_MS, False, fields, post_offset)


def removal(post_id: str) -> SignalsChange:
    """Return the change that removes a post."""
    return SignalsChange(post_id, 0, True)


def write_batch(
    *changes: SignalsChange | FeedChange, token: int = 10, at_ms: int | None = None, **more: Any
) -> WriteBatch:
    """Return a batch of these changes; `more` are its other fields."""
    return WriteBatch(
        now_ms=now_ms() if at_ms is None else at_ms,
        tokens=dict.fromkeys(ALL_SHARDS, token),
        signals=[change for change in changes if isinstance(change, SignalsChange)],
        feeds=[change for change in changes if isinstance(change, FeedChange)],
        **more,
    )
