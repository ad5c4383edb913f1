"""Redis read back: what the writer writes, and when a feed counts as fresh."""

from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.signal_hash import PostVersion, encode_post, fields_of_signal
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot, State

NOW_MS = 1_700_000_000_000


def test_a_signal_is_read_by_its_name() -> None:
    signal = StoredSignal(0.5, "spam", "v1", 7, NOW_MS + 5, "no memory")
    post = PostVersion(7, NOW_MS - 3, NOW_MS)
    fields = {"post": encode_post(post)} | fields_of_signal("spam", signal, 7, NOW_MS)
    assert PostSnapshot("p", fields).signal("spam") == signal
    assert PostSnapshot("p", fields).signal("nsfw") is None
    assert PostSnapshot("p", fields).version == post


def test_a_post_that_redis_does_not_know_has_no_version() -> None:
    unknown = PostSnapshot("p", {})
    assert (unknown.known, unknown.post_offset, unknown.created_ms) == (False, -1, 0)


def test_a_feed_of_a_new_owner_is_starting_until_it_was_called_fresh() -> None:
    def state(owned_ms: int, fresh_ms: int) -> State:
        info = {
            "owner": "12",  # no time: the offset of a record
            "owned_since_ms": str(NOW_MS - owned_ms),
            "fresh_until_ms": str(NOW_MS + fresh_ms),
        }
        return FeedSnapshot("global", (), info).state(NOW_MS)

    assert state(owned_ms=1_000, fresh_ms=-1_000) == "starting"
    assert state(owned_ms=1_000, fresh_ms=14_000) == "fresh"
    assert state(owned_ms=30_000, fresh_ms=-1) == "stale"
    assert state(owned_ms=61_000, fresh_ms=-61_000) == "stale"
