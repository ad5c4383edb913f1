"""Redis is flushed: every feed is back in moments, and nobody's old writes get in by that."""

from collections.abc import Callable

from builders.fault_engine import FaultEngine, go_on
from builders.own_redis import OwnRedis
from builders.recovery import COMMUNITIES
from builders.waiting import now_ms, until

POSTS = [f"bird-{n}" for n in range(40)]
FEEDS = ("global", "lang:en", *(f"community:{c}" for c in COMMUNITIES))
# Seen within a second, written at once; the rest is for a machine that does much else.
BACK_S = 10.0
EXPELLED = "the group expelled this worker"


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


def test_a_paused_owner_loses_after_a_flush_too(
    fault_engine: Callable[..., FaultEngine], own_redis: OwnRedis
) -> None:
    engine = fault_engine(redis=own_redis.url)
    first = engine.ready_worker("first")
    engine.wait_decided({"kept": engine.post("kept")})
    engine.hold_writes(own_redis, first, ["held"])
    engine.ready_worker("second")
    engine.wait_shown("held")
    own_redis.client().flushall()
    until(lambda: set(engine.order()) == {"kept", "held"}, BACK_S)
    hidden = {"verdict": "hide", "by": "mod", "reason": "r", "at_ms": now_ms()}
    engine.send("overrides", "post:held|*", hidden).get(10)
    engine.wait_gone("held")
    owner = int(engine.feed()[1]["owner"])

    def has_lost() -> bool:
        """Whether the old owner has joined again; until then nothing of its comes back."""
        assert engine.order() == ["kept"]
        assert engine.truth("held")["decision"] == "hide"
        assert int(engine.feed()[1]["owner"]) >= owner
        return EXPELLED in first.log.read_text()

    go_on(first)
    until(has_lost, 60)
    until(lambda: engine.metric(first, "feedmill_redis_refused_total") > 0)
    engine.wait_ready()
    assert has_lost()
