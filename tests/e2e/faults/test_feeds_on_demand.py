"""Feeds on demand are for posts that are shown, and places for communities of several authors."""

from builders.fault_engine import FaultEngine
from builders.shards import communities, places
from builders.waiting import until

EACH = 16
PLACES, SPAM = 20, 30
# All of one shard, which has so many places.
INVENTED = communities("invented-", SPAM * EACH)
MENDERS = communities("menders-", 1)[0]


def test_shown_spam_in_invented_communities_keeps_no_community_from_its_feed(
    engine: FaultEngine,
) -> None:
    worker = engine.ready_worker()
    engine.wait_applied(engine.set("feeds/community:*", places(PLACES)))
    # More than 16 communities of one author: as many as there are places are shown.
    spam = [f"spam-{n}" for n in range(SPAM)]
    for n, post_id in enumerate(spam):
        names = INVENTED[EACH * n : EACH * n + EACH]
        engine.post(post_id, author_id="spammer", communities=names)
    engine.wait_decided(spam)
    start = f"{engine.prefix}feed:{{community:"

    def made() -> set[str]:
        keys = engine.redis.scan_iter(f"{start}*", count=1000)
        return {key.removeprefix(start).partition("}")[0] for key in map(_text, keys)}

    until(lambda: len(made()) == PLACES)
    until(lambda: engine.metric(worker, "feedmill_feeds_waiting") == SPAM * EACH - PLACES)
    menders = [f"mender-{n}" for n in range(10)]
    for post_id in menders:
        engine.post(post_id, author_id=post_id, communities=[MENDERS])
    engine.wait_decided(menders)
    until(lambda: set(engine.order(f"community:{MENDERS}")) == set(menders))
    assert len(made()) == PLACES

    for post_id in (*spam, *menders):
        engine.send("posts", post_id, {"post_id": post_id, "deleted": True})
    until(lambda: not made())
    engine.post("again", communities=[MENDERS, INVENTED[7]])
    engine.wait_decided(["again"])
    until(lambda: made() == {MENDERS, INVENTED[7]})
    assert engine.order(f"community:{MENDERS}") == ["again"]


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode()
