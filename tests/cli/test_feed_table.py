"""What a feed says of how fresh it is; without Redis, unlike `test_feed`."""

from __future__ import annotations

import pytest

from feedmill.cli.feed_table import FeedTable, live_feed_table, plain_feed_table
from feedmill.streams.redis.reader import STARTING_MS, FeedSnapshot

NOW_MS = 1_790_000_000_000
INFO = {
    "version": "1",
    "weights": '{"quality": 1, "engagement": 1, "scale": {"quality": 1, "engagement": 1},'
    ' "half_life_hours": null, "max_per_author": null, "explore": 0}',
    "gates": "{}",
}


def slate(owned_ms: int, fresh_until_ms: int) -> FeedTable:
    """A feed that was taken over, and is fresh until then; both from now."""
    times = {"owner": str(NOW_MS + owned_ms), "fresh_until_ms": str(NOW_MS + fresh_until_ms)}
    return FeedTable(FeedSnapshot("global", (), {**INFO, **times}), (), NOW_MS)


@pytest.mark.parametrize(
    ("owned_ms", "fresh_until_ms", "said"),
    [
        # The first write of all, before every stage has reported.
        (-3000, -2990, "starting for 3 s: not every stage has reported yet"),
        # Started again over the feed of yesterday.
        (-3000, -86_400_000, "starting for 3 s: not every stage has reported yet"),
        (-3000, 14_000, "fresh for 14 s"),
        # Fresh under the owner before, not yet under this one.
        (-14_000, -4000, "starting for 14 s: not every stage has reported yet"),
        # Called fresh when taken over, and never after.
        (-23_000, -8000, "STALE for 8 s: a stage is dead or behind"),
        (-86_400_000, -8000, "STALE for 8 s: a stage is dead or behind"),
        # A stage that never comes up.
        (-STARTING_MS - 1000, -STARTING_MS - 1000, "STALE for 61 s: a stage is dead or behind"),
        # A token from a clock that was wrong.
        (86_400_000, -8000, "STALE for 8 s: a stage is dead or behind"),
    ],
)
def test_starting_is_told_from_stale(owned_ms: int, fresh_until_ms: int, said: str) -> None:
    feed = slate(owned_ms, fresh_until_ms)
    assert feed.freshness == said
    assert plain_feed_table(feed).splitlines()[1].endswith(said)
    assert said in str(live_feed_table(feed, {}).title)
    assert feed.as_dict()["fresh"] is said.startswith("fresh")
    assert feed.as_dict()["state"] == said.split(maxsplit=1)[0].lower()


def test_a_feed_without_a_token_is_stale() -> None:
    assert FeedTable(FeedSnapshot("global", (), INFO), (), NOW_MS).state == "stale"
