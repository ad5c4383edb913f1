"""What the combiner ranked reaches a real Redis, in the right order and under the right token."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import pytest

from builders.events import settings_of, signal
from builders.own_redis import OwnRedis, RedisClient
from builders.ranking_owner import KEYS, NOW_MS, Owner, always, never, settle_all, tokens
from builders.waiting import until
from feedmill.events.partition import shard_of
from feedmill.events.post import Deletion

pytestmark = pytest.mark.stack


@pytest.fixture
def client(own_redis: OwnRedis) -> RedisClient:
    return own_redis.client()


@pytest.fixture
def owners(own_redis: OwnRedis) -> Iterator[Callable[[int | None], Owner]]:
    made: list[Owner] = []

    def owner(token: int | None) -> Owner:
        made.append(Owner(own_redis.url, token))
        made[-1].combiner.apply(settings_of(("weights", {"quality": 1, "engagement": 0})))
        return made[-1]

    yield owner
    for one in made:
        one.handover.close()


def members(client: RedisClient, feed: str) -> set[str]:
    return set(client.zrange(KEYS.feed(feed), 0, -1))


def test_a_post_that_a_lagging_replica_brings_back_is_removed_again(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(10)
    owner.add("kept")
    owner.add("deleted")
    owner.settle()
    (marker,) = client.keys("flush-marker:*")
    lost = client.hgetall(KEYS.signals("deleted"))
    owner.combiner.view.update_post(Deletion("deleted", deleted=True), 2, NOW_MS)
    owner.settle()
    assert not client.exists(KEYS.signals("deleted"))
    client.delete(KEYS.post_tombstone("deleted"))
    client.hset(KEYS.signals("deleted"), mapping=lost)
    client.set(marker, 1)
    owner.cycle_until(lambda: not client.exists(KEYS.signals("deleted")))
    owner.settle()
    assert members(client, "global") == {"kept"}
    assert client.exists(KEYS.signals("kept"))


def test_nothing_is_written_before_the_new_owner_has_caught_up(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(10)
    owner.add("p", "c")
    for _ in range(5):
        owner.cycle(caught_up=False)
    assert owner.is_idle()
    assert client.keys("feed:*") == []
    owner.settle()
    assert members(client, "community:c") == {"p"}
    assert client.hget(KEYS.signals("p"), "owner") == "10"


def test_settings_count_as_shown_when_redis_has_every_feed(
    owners: Callable[[int | None], Owner], own_redis: OwnRedis, client: RedisClient
) -> None:
    owner = owners(10)
    for i in range(4):
        owner.add(f"p{i}", f"c{i}")
    owner.settle()
    own_redis.freeze()
    value = {"quality": 2, "engagement": 0, "half_life_hours": None}
    owner.combiner.apply(settings_of(("weights", value), before=owner.combiner.settings))
    for _ in range(8):
        owner.cycle(never)
    assert owner.handover.shown_offset == 0
    own_redis.go_on()
    owner.cycle_until(lambda: owner.handover.shown_offset == 1)
    weights = {client.hget(KEYS.info(f"community:c{i}"), "weights")[:13] for i in range(4)}
    assert weights == {'{"quality":2.'}
    assert owner.hurries == 2
    # Nobody waits for a refused setting: its offset is shown all the same.
    owner.combiner.apply(owner.combiner.settings.skip(2))
    owner.cycle_until(lambda: owner.handover.shown_offset == 2)
    assert owner.hurries == 2


def test_an_owner_removes_what_a_former_one_left(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    former = owners(10)
    former.add("p", "left", "kept")
    former.add("q", "kept")
    former.settle()
    assert members(client, "community:left") == {"p"}
    latter = owners(11)
    latter.add("p")
    latter.combiner.cycle(NOW_MS)
    latter.combiner.view.update_post(Deletion("p", deleted=True), 2, NOW_MS)
    latter.add("q", "kept")
    latter.settle()
    latter.cycle_until(lambda: not client.exists(KEYS.feed("community:left")))
    assert members(client, "community:kept") == {"q"}
    assert not client.exists(KEYS.signals("p"))


def test_a_feed_that_loses_its_last_post_is_removed_and_comes_again(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(10)
    owner.add("p", "c")
    owner.settle()
    owner.combiner.view.update_signal("spam", signal("p", 1, 0.95))
    owner.cycle_until(lambda: not client.exists(KEYS.info("community:c")))
    # The index follows: until then it names a feed too many, never one too few.
    owner.cycle_until(lambda: client.zscore(KEYS.feed_index, "community:c") is None)
    owner.combiner.view.update_signal("spam", signal("p", 1, 0.1))
    owner.cycle_until(lambda: members(client, "community:c") == {"p"})


def test_after_a_flush_feeds_are_back_before_all_posts_are(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(10)
    for i in range(300):
        owner.add(f"p{i}", f"c{i % 3}")
    owner.settle()
    client.flushall()
    seen = []

    def is_back() -> bool:
        posts, feeds = len(client.keys("signals:*")), len(client.keys("feed:{*}"))
        seen.append((feeds, posts))
        owner.cycle(never)
        return posts == 300

    until(is_back, every=0.002)
    assert all(feeds == 4 for feeds, posts in seen if posts > 0)
    assert any(0 < posts < 300 for _, posts in seen)


def test_only_what_failed_is_written_again(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(10)
    for i in range(20):
        owner.add(f"p{i}", "c")
    owner.settle()
    client.delete(KEYS.signals("p3"))
    client.set(KEYS.signals("p3"), "in the way")
    written = cast(int, client.info("commandstats")["cmdstat_evalsha"]["calls"])
    owner.add("p3", "c")
    owner.combiner.view.update_signal("quality", signal("p3", 1, 0.9))
    for _ in range(5):
        owner.cycle()
    owner.cycle_until(owner.is_idle)
    client.delete(KEYS.signals("p3"))
    owner.cycle_until(lambda: client.type(KEYS.signals("p3")) == "hash")
    calls = cast(int, client.info("commandstats")["cmdstat_evalsha"]["calls"])
    assert calls - written < 20


def test_it_is_behind_while_the_owner_has_something_to_submit(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    owner = owners(None)
    owner.add("p", "c")
    owner.cycle()
    # Another worker writes.
    assert not (owner.handover.is_behind or owner.handover.has_work)
    assert client.keys("feed:*") == []
    owner.handover.set_tokens(tokens(10))
    owner.cycle(never)
    assert owner.handover.is_behind
    owner.settle()
    assert not owner.handover.is_behind


def test_writes_that_a_newer_owner_has_refused_are_counted(
    owners: Callable[[int | None], Owner],
) -> None:
    newer, older = owners(20), owners(10)
    newer.add("p")
    newer.settle()
    assert newer.handover.refused_writes == 0
    older.add("p")
    older.cycle_until(lambda: older.handover.refused_writes > 0)
    assert set(older.handover.newer_owners.values()) == {20}


# --- several owners, each of some shards ----------------------------------------------------

SHARDS = (frozenset(range(0, 64, 2)), frozenset(range(1, 64, 2)))
COMMUNITIES = [f"c{n}" for n in range(12)]


def is_looked_at(owner: Owner, since_s: float) -> bool:
    """Whether the index was counted a second after this time, or later."""
    return owner.handover._writer._writer._checked_s > since_s + 1


def owned(client: RedisClient) -> dict[str, str]:
    """The owner of each feed and post that Redis shows, by name."""
    feeds = {key.split("{")[1].split("}")[0]: key for key in client.keys("feed:*:info")}
    posts = {key.removeprefix("signals:"): key for key in client.keys("signals:*")}
    found = {name: client.hget(key, "owner") for name, key in {**feeds, **posts}.items()}
    return {name: owner for name, owner in found.items() if owner is not None}


def test_two_owners_leave_each_others_feeds_and_posts_alone(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    two = owners(None), owners(None)
    for owner, shards, token in zip(two, SHARDS, (10, 20), strict=True):
        for name in COMMUNITIES:
            owner.add(f"p-{name}", name)
        owner.handover.set_tokens(tokens(token, shards))
    settle_all(*two)
    names = ["global", *(f"community:{name}" for name in COMMUNITIES)]
    names += [f"p-{name}" for name in COMMUNITIES]
    expected = {name: "10" if shard_of(name) % 2 == 0 else "20" for name in names}
    assert owned(client) == expected
    before = {name: client.hget(KEYS.info(name), "version") for name in names}

    # Each looks at the index again, as after a former owner's late write, and finds nothing to do.
    for owner in two:
        checked_s = owner.handover._writer._writer._checked_s
        owner.handover._writer.own(frozenset(owner.handover._tokens), frozenset())
        owner.cycle_until(partial(is_looked_at, owner, checked_s))
    settle_all(*two)
    assert owned(client) == expected
    assert {name: client.hget(KEYS.info(name), "version") for name in names} == before
    assert not any(owner.combiner.has_changes for owner in two)
    assert sum(owner.handover.refused_writes for owner in two) == 0


def test_a_shard_that_goes_is_forgotten_and_one_that_stays_is_not_written_again(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    former, next_one = owners(10), owners(None)
    for owner in (former, next_one):
        for name in COMMUNITIES:
            owner.add(f"p-{name}", name)
    settle_all(former)
    all_feeds = set(former.combiner.feeds)
    versions = {feed: client.hget(KEYS.info(feed), "version") for feed in all_feeds}

    former.handover.set_tokens(tokens(10, SHARDS[0]))
    assert {shard_of(feed) for feed in former.combiner.feeds} <= SHARDS[0]
    settle_all(former)
    # Nobody has them yet, and readers have them all the same.
    assert owned(client) == dict.fromkeys(owned(client), "10")
    assert all_feeds <= owned(client).keys()
    next_one.handover.set_tokens(tokens(20, SHARDS[1]))
    settle_all(former, next_one)
    for feed in all_feeds:
        is_kept = shard_of(feed) in SHARDS[0]
        assert (client.hget(KEYS.info(feed), "version") == versions[feed]) == is_kept
    assert set(owned(client).values()) == {"10", "20"}
    assert former.handover.refused_writes == next_one.handover.refused_writes == 0


def test_of_a_shard_that_comes_what_must_go_goes_first_and_feeds_stay_until_they_are_made(
    owners: Callable[[int | None], Owner], client: RedisClient
) -> None:
    former = owners(10)
    for name in COMMUNITIES:
        former.add(f"p-{name}", name)
    former.combiner.apply(settings_of(("feeds/declared", {}), before=former.combiner.settings))
    settle_all(former)
    shown = {f"community:{name}" for name in COMMUNITIES}
    assert {*shown, "declared"} <= owned(client).keys()

    next_one = owners(None)
    next_one.handover.set_tokens(tokens(20, SHARDS[shard_of("global") % 2]))
    for name in COMMUNITIES[1:]:
        next_one.add(f"p-{name}", name)
    settle_all(next_one)
    next_one.handover.set_tokens(tokens(20))

    def follow() -> set[str]:
        next_one.handover.read_report()
        return next_one.handover._left_feeds

    # Its lists of the new shards are not made yet: it does not rank meanwhile.
    until(follow)
    next_one.handover.write(always, caught_up=False)
    next_one.handover.wait_written(10.0)
    assert not client.exists(KEYS.info("declared"))
    assert {feed for feed in shown if client.exists(KEYS.info(feed))} >= shown - {"community:c0"}
    settle_all(next_one)
    assert set(next_one.combiner.feeds) == {"global", *shown} - {"community:c0"}
    feeds = {name for name in owned(client) if client.exists(KEYS.info(name))}
    assert feeds == set(next_one.combiner.feeds)
    assert {owner for name, owner in owned(client).items() if name != "p-c0"} == {"20"}
