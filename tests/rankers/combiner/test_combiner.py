"""The combiner's promises one by one; `test_combiner_oracle` has them all at once."""

from typing import Any

import pytest

from builders.events import HOUR_MS, NOW_MS, post, settings_of, signal
from feedmill.events.partition import ALL_SHARDS, shard_of
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner, FeedChange
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.live_feeds import LiveFeeds
from feedmill.rankers.combiner.pending_writes import HELD_TICKS

NAMES = SignalNames()


class Bench:
    """A combiner, and short words for what comes to it."""

    def __init__(self) -> None:
        self.combiner = Combiner(NAMES)
        self.view = self.combiner.view
        self.now_ms = NOW_MS

    def post(self, post_id: str, offset: int, **said: Any) -> None:
        given = {"author_id": post_id, "created_at_ms": self.now_ms, **said}
        self.view.update_post(post(post_id, **given), offset, self.now_ms)

    def delete(self, post_id: str, offset: int) -> None:
        self.view.update_post(Deletion(post_id, deleted=True), offset, self.now_ms)

    def signal(self, name: str, post_id: str, offset: int, value: float | None) -> None:
        self.view.update_signal(name, signal(post_id, offset, value, at_ms=self.now_ms))

    def judge(self, post_id: str, offset: int, value: float = 0.1) -> None:
        for name in NAMES.gates:
            self.signal(name, post_id, offset, value)

    def set(self, key: str, value: Any) -> None:
        settings = settings_of((key, value), before=self.combiner.settings)
        self.combiner.apply(settings)

    def cycle(self) -> dict[str, FeedChange]:
        """The feeds that changed."""
        return {change.feed: change for change in self.combiner.cycle(self.now_ms).feeds}

    def fields(self) -> dict[str, dict[str, Any]]:
        """The fields of the signals that changed."""
        return {one.post_id: dict(one.fields) for one in self.combiner.cycle(self.now_ms).signals}

    def shown(self, feed: str = "global") -> list[str]:
        self.cycle()
        return list(self.combiner.ranking(feed).written)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_posts_that_came_older_than_every_window_are_counted_once(bench: Bench) -> None:
    bench.post("late", 10, created_at_ms=NOW_MS - 169 * HOUR_MS)
    bench.post("seconds", 11, created_at_ms=NOW_MS - 20_000 * HOUR_MS)
    bench.post("old", 12, created_at_ms=NOW_MS - 167 * HOUR_MS)
    bench.post("new", 13)
    bench.signal("quality", "unknown", 14, 0.5)
    for _ in range(3):
        bench.combiner.tick(bench.now_ms)
        bench.cycle()
    assert bench.combiner.view.post.late == 2
    # Those that were in time leave every window, too, and are not counted.
    bench.now_ms += 200 * HOUR_MS
    bench.combiner.tick(bench.now_ms)
    bench.cycle()
    assert len(bench.combiner.view) == 0
    assert bench.combiner.view.post.late == 2


def test_signals_of_objectives_decide_no_post_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided: list[int] = []
    update = GateDecisions.update

    def noted(self: GateDecisions, rows: Any, now_ms: int) -> None:
        decided.extend(rows.tolist())
        update(self, rows, now_ms)

    for i in range(6):
        bench.post(f"p{i}", 1)
        bench.judge(f"p{i}", 1)
    bench.cycle()
    monkeypatch.setattr(GateDecisions, "update", noted)
    for i in range(6):
        bench.signal("quality", f"p{i}", 1, 0.1 * i)
    assert bench.shown() == ["p5", "p4", "p3", "p2", "p1", "p0"]
    assert decided == []
    bench.signal("quality", "p3", 1, 0.9)
    bench.signal("spam", "p4", 1, 0.95)
    assert bench.shown() == ["p3", "p5", "p2", "p1", "p0"]
    assert decided == [4]


def test_a_feed_whose_setting_is_removed_is_removed(bench: Bench) -> None:
    bench.set("feeds/mine", {})
    bench.post("p", 10)
    bench.judge("p", 10)
    assert bench.shown("mine") == ["p"]
    bench.set("feeds/mine", None)
    changes = bench.combiner.cycle(NOW_MS)
    assert (changes.feeds, changes.removed_feeds) == ([], ["mine"])
    assert "mine" not in {one.feed for one in bench.combiner.renewals(bench.combiner.feeds)}
    bench.combiner.rewrite_all()
    assert set(bench.cycle()) == {"global"}
    bench.set("feeds/mine", {})
    assert [post for post, _ in bench.cycle()["mine"].entries] == ["p"]


def test_a_setting_that_touches_a_feed_is_in_its_info_at_once(bench: Bench) -> None:
    [empty] = bench.cycle().values()
    assert (empty.feed, empty.whole, empty.size) == ("global", True, 0)
    assert bench.cycle() == {}
    bench.set("feeds/global", {"size": 7})
    change = bench.cycle()["global"]
    assert (change.whole, change.config_offset) == (True, 0)
    bench.set("weights/other", {"quality": 1, "engagement": 0})
    assert bench.cycle() == {}
    assert [one.config_offset for one in bench.combiner.renewals(bench.combiner.feeds)] == [1]


def test_what_is_to_be_written_of_many_posts_is_taken_in_parts(bench: Bench) -> None:
    ids = [f"p{n}" for n in range(300)]
    for offset, post_id in enumerate(ids):
        bench.post(post_id, offset)
    bench.combiner.work(NOW_MS)
    taken: list[str] = []
    while bench.combiner.has_changes:
        signals = bench.combiner.take(NOW_MS, lambda: False).signals
        assert len(signals) <= 100
        taken += [one.post_id for one in signals]
    assert sorted(taken) == sorted(ids)


def test_feeds_taken_as_a_whole_bring_the_signals_of_the_posts_they_show_and_no_other(
    bench: Bench,
) -> None:
    bench.set("feeds/global", {"size": 1})
    for post_id, communities in {"old": ("c",), "gone": ()}.items():
        bench.post(post_id, 1, communities=communities)
        bench.judge(post_id, 1)
    bench.cycle()
    for offset, (post_id, quality) in enumerate({"best": 0.9, "next": 0.8}.items(), 2):
        bench.post(post_id, offset, communities=("c",))
        bench.judge(post_id, offset)
        bench.signal("quality", post_id, offset, quality)
    bench.delete("gone", 9)
    bench.set("weights/global", {"quality": 2, "engagement": 0})
    bench.combiner.work(NOW_MS)
    first = bench.combiner.take(NOW_MS, only_whole=True)
    assert [change.feed for change in first.feeds] == ["global"]
    assert [change.post_id for change in first.signals] == ["best"]
    others = bench.combiner.take(NOW_MS)
    assert [change.feed for change in others.feeds] == ["community:c"]
    assert [change.post_id for change in others.signals] == ["gone", "next"]
    assert not bench.combiner.has_changes


def test_feeds_taken_as_a_whole_go_alone_while_all_posts_are_written_again(bench: Bench) -> None:
    bench.post("p", 1)
    bench.judge("p", 1)
    bench.cycle()
    bench.combiner.rewrite_all()
    changes = bench.combiner.take(NOW_MS, only_whole=True)
    assert ([change.feed for change in changes.feeds], changes.signals) == (["global"], [])
    bench.combiner.work(NOW_MS)
    assert [change.post_id for change in bench.combiner.take(NOW_MS).signals] == ["p"]


def test_only_posts_that_are_or_were_shown_are_ranked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked: list[int] = []
    update = LiveFeeds.update

    def noted(self: LiveFeeds, rows: Any, *others: Any) -> None:
        ranked.append(len(rows))
        update(self, rows, *others)

    monkeypatch.setattr(LiveFeeds, "update", noted)
    for count in (1, 20):
        ids = [f"{count}-{number}" for number in range(count)]
        for offset, post_id in enumerate(ids):
            bench.post(post_id, offset)
        bench.cycle()
        for name, value in (("spam", 0.1), ("nsfw", 0.1), ("misinformation", 0.1), ("spam", 1.0)):
            for offset, post_id in enumerate(ids):
                bench.signal(name, post_id, offset, value)
            bench.cycle()
        # It comes with the last verdict, and goes with one that hides it.
        assert ranked == [0, 0, 0, count, count]
        ranked.clear()


def test_of_many_posts_that_come_those_that_wait_for_a_verdict_are_written_when_it_is_there(
    bench: Bench,
) -> None:
    bench.combiner.hold_back(True)
    bench.post("shown", 1)
    bench.judge("shown", 1)
    bench.post("p", 2)
    assert bench.fields().keys() == {"shown"}
    for name in NAMES.gates[:-1]:
        bench.signal(name, "p", 2, 0.1)
        assert bench.fields() == {}
    bench.signal(NAMES.gates[-1], "p", 2, 0.1)
    assert bench.fields()["p"].keys() >= {*NAMES.gates, "post"}
    # One that still waits some ticks later is written.
    bench.post("q", 3)
    for _ in range(2 * HELD_TICKS):
        assert bench.fields() == {}
        bench.combiner.tick(NOW_MS)
    assert bench.fields()["q"]["decision"] == "hold"
    bench.post("r", 4)
    assert bench.fields() == {}
    assert not bench.combiner.has_changes
    assert bench.combiner.hold_back(False)
    assert bench.fields()["r"]["decision"] == "hold"


def test_a_start_removes_posts_of_which_kafka_kept_the_deletion_alone() -> None:
    combiner = Combiner(NAMES, shards=frozenset())
    combiner.is_restoring = True
    for n in range(20):
        deletion = Deletion(f"gone{n}", deleted=True)
        combiner.view.update_post(deletion, 2 * n, NOW_MS - HOUR_MS)
    combiner.view.update_post(Deletion("again", deleted=True), 50, NOW_MS - HOUR_MS)
    combiner.view.update_post(post("again"), 51, NOW_MS)
    combiner.view.update_post(Deletion("old", deleted=True), 52, NOW_MS - 169 * HOUR_MS)
    assert not combiner.rank_changes(NOW_MS)
    combiner.is_restoring = False
    # Of its shards alone, once it has some.
    combiner.own(ALL_SHARDS - {shard_of("gone3")})
    changes = combiner.cycle(NOW_MS).signals
    removed = {one.post_id for one in changes if not one.fields}
    others = {f"gone{n}" for n in range(20)}
    assert removed == {one for one in others if shard_of(one) != shard_of("gone3")}
    combiner.own(ALL_SHARDS)
    removed = {one.post_id for one in combiner.cycle(NOW_MS).signals if not one.fields}
    assert removed == {one for one in others if shard_of(one) == shard_of("gone3")}

    # Who is there saw what was posted: what never was takes nothing.
    combiner.view.update_post(Deletion("never-was", deleted=True), 60, NOW_MS)
    assert not combiner.view.has_changes
    assert not combiner.cycle(NOW_MS).signals
