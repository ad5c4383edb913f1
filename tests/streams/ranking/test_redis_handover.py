"""What the combiner ranked reaches a real Redis, in the right order and under the right token."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.events import post, settings_of, signal
from builders.own_redis import OwnRedis, RedisClient
from builders.waiting import until
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.ranking.feed_freshness import FeedFreshness
from feedmill.streams.ranking.redis_handover import RedisHandover
from feedmill.streams.redis.commands import Keys
from feedmill.streams.settings.clock import LogClock, now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.streams.worker.step import StepContext

pytestmark = pytest.mark.stack

NAMES = SignalNames()
NOW_MS = now_ms()  # Redis drops by its own clock what is out of the window
KEYS = Keys("")


def always() -> bool:
    return True


def never() -> bool:
    return False


class Owner:
    """A combiner that writes to Redis, one cycle after the other."""

    def __init__(self, url: str, token: int | None) -> None:
        clock = LogClock(lambda: 0.0)
        clock.stamp(NOW_MS)
        self.combiner = Combiner(NAMES)
        self.hurries = 0
        connection: Any = SimpleNamespace()
        context = StepContext(connection, clock, Metrics("combiner", "one"), 1, self._hurry)
        environment = Environment(redis=url)
        self.handover = RedisHandover(environment, self.combiner, FeedFreshness(1, "one"), context)
        self.handover.set_token(token)

    def _hurry(self) -> None:
        self.hurries += 1

    def add(self, post_id: str, *communities: str) -> None:
        view = self.combiner.view
        one = post(post_id, author_id=post_id, created_at_ms=NOW_MS, communities=communities)
        view.update_post(one, 1, NOW_MS)
        for name in NAMES.all:
            view.update_signal(name, signal(post_id, 1, 0.1))

    def cycle(self, has_time: Callable[[], bool] = always, *, caught_up: bool = True) -> None:
        self.handover.begin_writing()
        self.handover.follow()
        self.combiner.work(NOW_MS)
        self.handover.write(has_time, caught_up=caught_up)

    def cycle_until(self, is_so: Callable[[], bool]) -> None:
        def tried() -> bool:
            self.cycle()
            return is_so()

        until(tried, every=0.005)

    def settle(self) -> None:
        """Go on until everything is written."""
        self.cycle_until(lambda: self.handover.shown_offset == self.combiner.settings.offset)
        self.cycle_until(lambda: not self.combiner.has_changes and self.is_idle())

    def is_idle(self) -> bool:
        return self.handover._writer.is_idle and not self.handover._submitted


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
    owner.handover.set_token(10)
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
    assert older.handover.newer_owner == 20
