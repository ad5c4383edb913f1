"""What concerns all rows is done in parts, and comes to what doing it at once comes to."""

import pytest

from builders.events import HOUR_MS, NOW_MS, override, post, signal
from builders.ranked_posts import HIDDEN, Posts
from builders.redis_model import RedisModel
from feedmill.events.override import OverrideKey
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import combiner, view

POSTS = 40
LATER_MS = NOW_MS + 300 * HOUR_MS


class World:
    """Posts that Redis shows, and an event after which all or many of them are looked at."""

    def __init__(self, event: str) -> None:
        self.posts = Posts()
        self.redis = RedisModel()
        self.now_ms = NOW_MS
        for i in range(POSTS):
            self.posts.add(f"p{i}", quality=i / POSTS, spam=HIDDEN if i % 5 == 0 else i / 50)
            if i % 2:
                short = override("hide", expires_at_ms=NOW_MS + 1000)
                self.posts.combiner.view.update_override(OverrideKey("post", f"p{i}", "*"), short)
        self.posts.combiner.tick(NOW_MS)
        self.posts.combiner.work(NOW_MS)
        self.take()
        getattr(self, event)()

    def take(self) -> None:
        while self.posts.combiner.has_changes:
            before = len(self.redis.hashes)
            changes = self.posts.combiner.take(self.now_ms, lambda: False)
            self.redis.take(*changes)
            if not (changes.signals or changes.feeds or changes.removed_feeds):
                assert before == len(self.redis.hashes)
                return

    def add_held(self, post_id: str, arrived_ms: int) -> None:
        """Add a post without a verdict of the spam filter."""
        self.posts.add(post_id, arrived_ms=arrived_ms)
        self.posts.combiner.view.clear_signal("spam", post_id)

    # --- events -----------------------------------------------------------------------------

    def flush(self) -> None:
        self.redis = RedisModel()
        self.posts.combiner.rewrite_all()

    def end_of_a_restore(self) -> None:
        self.posts.combiner.is_restoring = True
        for i in range(POSTS, 2 * POSTS):
            self.posts.add(f"p{i}", quality=i / POSTS / 2)
        self.posts.combiner.rank_changes(NOW_MS)
        self.posts.combiner.is_restoring = False

    def gates(self) -> None:
        self.posts.set("gates", {"spam": {"hide_at": 0.3}})

    def longer_window(self) -> None:
        self.posts.set("feeds/global", {"window_hours": 400})

    def clock_goes_back(self) -> None:
        combiner = self.posts.combiner
        combiner.tick(NOW_MS + 2000)
        combiner.work(NOW_MS + 2000)
        self.take()
        combiner.tick(NOW_MS)

    def overrides_run_out(self) -> None:
        self.now_ms += 2000
        self.posts.combiner.tick(self.now_ms)

    def grace_ends(self) -> None:
        self.posts.set("gates", {"spam": {"on_failure": "open", "grace_s": 1}})
        for i in range(POSTS, 2 * POSTS):
            self.add_held(f"p{i}", NOW_MS)
        self.posts.combiner.work(NOW_MS)
        self.take()
        self.now_ms += 2000
        self.posts.combiner.tick(self.now_ms)

    def posts_expire(self) -> None:
        self.now_ms = LATER_MS
        self.posts.combiner.tick(self.now_ms)


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        ("flush", 8),
        ("end_of_a_restore", 8),
        ("gates", 8),
        ("longer_window", 8),
        ("clock_goes_back", 8),
        ("overrides_run_out", POSTS // 2 // 4),
        ("grace_ends", 8),
        ("posts_expire", 8),
    ],
)
def test_in_parts_between_which_is_written_it_comes_to_the_same(
    monkeypatch: pytest.MonkeyPatch, event: str, parts: int
) -> None:
    monkeypatch.setattr(combiner, "_PASSED_ROWS", 1024)  # an eighth of the rows that there are
    monkeypatch.setattr(combiner, "_TOUCHED_ROWS", 1024)
    monkeypatch.setattr(view, "_SEARCHED_AT_ONCE", 1024)
    monkeypatch.setattr(combiner, "_ENDED_OVERRIDES", 4)
    monkeypatch.setattr(combiner, "_RANKED_ROWS", 8)
    whole, parted = World(event), World(event)
    whole.posts.combiner.work(whole.now_ms)
    whole.take()
    count = 1
    while parted.posts.combiner.work(parted.now_ms, lambda: False):
        parted.redis.take(*parted.posts.combiner.take(parted.now_ms, lambda: False))
        count += 1
    parted.take()
    assert count >= parts
    for one in (whole, parted):
        assert not one.posts.combiner.has_changes
    assert parted.redis.feeds == whole.redis.feeds
    assert parted.redis.hashes == whole.redis.hashes
    assert parted.redis.expires == whole.redis.expires


def test_a_grace_that_ends_while_others_are_searched_for_ends_with_the_next_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(combiner, "_PASSED_ROWS", 1024)
    world = World("grace_ends")
    combiner_ = world.posts.combiner
    # In the part where the first search has been.
    world.add_held("late", NOW_MS + 1500)
    combiner_.rank_changes(world.now_ms)
    combiner_.tick(world.now_ms + 1000)
    combiner_.work(world.now_ms + 1000)
    assert combiner_.decisions()["hold"] == 1
    combiner_.tick(world.now_ms + 1001)
    combiner_.work(world.now_ms + 1001)
    assert combiner_.decisions()["hold"] == 0


def test_a_post_that_changes_while_all_are_marked_is_written_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(combiner, "_PASSED_ROWS", 1024)
    world = World("flush")
    combiner_ = world.posts.combiner
    world.posts.signal("quality", "p3", 0.9)
    combiner_.rank_changes(NOW_MS)
    assert [one.whole for one in combiner_.take(NOW_MS).signals if one.post_id == "p3"] == [True]
    combiner_.work(NOW_MS)
    world.take()
    assert len(world.redis.hashes) == POSTS


@pytest.mark.parametrize("most", [1, 2, 3, 8192])
def test_what_posts_lack_that_came_some_time_ago(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(combiner, "_PASSED_ROWS", most)
    names = SignalNames.parse("extreme:gate,novelty:objective")
    posts = view.PostView(names)

    def found(before_ms: int) -> set[str]:
        search = combiner.lacking(posts, names.own, before_ms)
        while True:
            try:
                next(search)
            except StopIteration as end:
                return set(end.value)

    for post_id in ("complete", "p"):
        posts.update_post(post(post_id), 1, NOW_MS)
        assert found(NOW_MS) == set()
        assert found(NOW_MS + 1) == {"extreme", "novelty"}
        posts.update_signal("novelty", signal(post_id, 1, 0.5))
        posts.update_signal("extreme", signal(post_id, 1, None, error="no model"))
        assert found(NOW_MS + 1) == set()
    # An edit is to be judged again; a deletion is not.
    posts.update_post(post("p"), 2, NOW_MS)
    assert found(NOW_MS + 1) == {"extreme", "novelty"}
    posts.update_post(Deletion("p", deleted=True), 3, NOW_MS)
    assert found(NOW_MS + 1) == set()
