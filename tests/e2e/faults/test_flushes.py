"""Redis is flushed: every feed is back in moments, and nobody's old writes get in by that."""

from collections.abc import Callable

from builders.fault_engine import FaultEngine
from builders.own_redis import OwnRedis
from builders.recovery import COMMUNITIES
from builders.waiting import now_ms, until

POSTS = [f"bird-{n}" for n in range(40)]
FEEDS = ("global", "lang:en", *(f"community:{c}" for c in COMMUNITIES))
# Seen within a second, written at once; the rest is for a machine that does much else.
BACK_S = 10.0


def feeds(engine: FaultEngine) -> dict[str, list[tuple[str, float]]]:
    return {name: engine.feed(name)[0] for name in FEEDS}


def test_feeds_and_signals_are_back_after_every_flush(
    fault_engine: Callable[..., FaultEngine], own_redis: OwnRedis
) -> None:
    engine = fault_engine(redis=own_redis.url)
    engine.ready_worker()
    admin = own_redis.client()
    # A worker that has no post has an info of `global` to lose.
    until(lambda: engine.feed()[1])
    admin.flushall()
    until(lambda: engine.feed()[1], BACK_S)

    engine.posts(
        {
            "post_id": p,
            "author_id": p,
            "created_at_ms": now_ms(),
            "text": f"The {n}th bird of spring",
            "communities": [COMMUNITIES[n % len(COMMUNITIES)]],
            "lang": "en",
        }
        for n, p in enumerate(POSTS)
    )
    engine.wait_decided(POSTS)
    until(lambda: set(engine.order("lang:en")) == set(POSTS))
    wanted = feeds(engine)
    versions = [int(engine.feed(name)[1]["version"]) for name in FEEDS]
    for _ in range(3):
        admin.flushall()
        until(lambda: feeds(engine) == wanted and set(engine.truths()) == set(POSTS), BACK_S)
        engine.check_feed()
        before = versions
        versions = [int(engine.feed(name)[1]["version"]) for name in FEEDS]
        assert all(new > old for new, old in zip(versions, before, strict=True))
    assert engine.complaints() == []
