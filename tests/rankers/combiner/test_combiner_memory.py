"""What the combiner keeps, and for how long: memory, rows used again, nothing left behind."""

import gc
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest

from builders.events import HOUR_MS, NOW_MS, post, settings_of, signal
from builders.mapped import mapped_bytes
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner, SignalsChange
from feedmill.rankers.combiner.columns import NEVER_MS, NO_POST

NAMES = SignalNames()


# By default no other signal is written.
SHIPPED = ("spam", "nsfw", "misinformation", "quality", "engagement")


def add(combiner: Combiner, offset: int, one: Post, value: float | None = 0.5) -> None:
    combiner.view.update_post(one, offset, NOW_MS)
    for name in SHIPPED:
        combiner.view.update_signal(name, signal(one.post_id, offset, value))


def with_settings(combiner: Combiner, **settings: Any) -> Settings:
    records = ((key.replace("__", "/"), value) for key, value in settings.items())
    return settings_of(*records, before=combiner.settings)


def hashes(changes: list[SignalsChange]) -> dict[str, SignalsChange]:
    return {change.post_id: change for change in changes}


def used_rows(combiner: Combiner) -> set[int]:
    ids = combiner.view.ids
    return {row for row in range(ids.bound) if ids[row]}


def check_invariants(combiner: Combiner, now_ms: int) -> None:
    """Everything that refers to a row refers to one that is in use, and feeds are as placed."""
    view = combiner.view
    used = used_rows(combiner)
    assert len(used) == len(view)
    early = set(view.early.rows)
    assert early <= used
    assert len(early) <= len(view.early)
    live = set(np.flatnonzero(view.post.offset != NO_POST).tolist())
    assert live | early == used
    free = np.array([row for row in range(view.capacity) if row not in used], np.int32)
    assert (view.post.author[free] == -1).all()
    assert (view.post.created_ms[free] == NEVER_MS).all()
    for column in view.signals.values():
        assert not any(column.get(row, 0) for row in free.tolist())
        assert {*column._errors, *column._older, *column._far_models} <= used
    for name in combiner.feeds:
        ranking = combiner.ranking(name)
        rows = ranking.list.rows.tolist()
        assert len(set(rows)) == len(rows), name
        belong = {row for row in live if _belongs(combiner, name, row, now_ms)}
        assert set(rows) == {row for row in belong if ranking.scores.score.values[row] > -np.inf}, (
            name
        )


def _belongs(combiner: Combiner, feed: str, row: int, now_ms: int) -> bool:
    view, spec = combiner.view, combiner.ranking(feed).spec
    group = view.groups.values[view.post.group[row]]
    kind, _, value = feed.partition(":")
    named = {"community": value in group.communities, "lang": value == group.lang}
    authors = spec.match.authors
    return (
        named.get(kind, True)
        and not group.is_reply
        and (not authors or view.author_of(row) in authors)
        and int(view.post.created_ms[row]) >= now_ms - spec.window_hours * HOUR_MS
    )


def test_ten_thousand_operations_leave_nothing_behind() -> None:
    combiner, random = Combiner(NAMES), Random(5)
    feed = {"match": {"authors": ["u1", "u2"]}, "window_hours": 2}
    combiner.apply(with_settings(combiner, feeds__friends=feed))
    view, now_ms = combiner.view, NOW_MS
    for offset in range(10_000):
        now_ms += random.choice((0, 1000, 20_000))
        post_id = f"p{random.randrange(3000)}"
        draw = random.random()
        if draw < 0.45:
            one = post(
                post_id,
                author_id=f"u{random.randrange(40)}",
                created_at_ms=now_ms - random.choice((0, HOUR_MS, 30 * HOUR_MS)),
                lang=random.choice((None, "en", "de")),
                communities=(f"c{random.randrange(9)}",),
                in_reply_to=random.choice((None, None, "x")),
            )
            view.update_post(one, offset, now_ms)
        elif draw < 0.6:
            view.update_post(Deletion(post_id, deleted=True), offset, now_ms)
        elif draw < 0.9:
            value = random.choice((0.1, 0.9, None))
            about = offset + random.choice((-9, 9))
            view.update_signal(
                random.choice(NAMES.all), signal(post_id, about, value, at_ms=now_ms)
            )
        else:
            view.clear_signal(random.choice(NAMES.all), post_id)
        if offset % 50 == 0:
            combiner.cycle(now_ms)
        if offset % 250 == 0:
            combiner.tick(now_ms)
            combiner.work(now_ms)
            check_invariants(combiner, now_ms)
    assert len(view) > 300
    now_ms += 200 * HOUR_MS
    combiner.tick(now_ms)
    combiner.cycle(now_ms)
    check_invariants(combiner, now_ms)
    assert len(view) == len(view.early) == 0
    assert not combiner.has_changes
    assert set(combiner.feeds) == {"global", "friends"}
    assert all(not combiner.ranking(feed).written for feed in combiner.feeds)


def test_rows_authors_and_groups_of_posts_past_their_window_are_used_again() -> None:
    combiner = Combiner(NAMES)
    feed = {"window_hours": 1}
    settings = {"feeds__global": feed, "feeds__community:*": feed, "feeds__lang:*": feed}
    combiner.apply(with_settings(combiner, **settings))
    view, now_ms = combiner.view, NOW_MS
    for hour in range(40):
        for i in range(300):
            number = f"{hour}.{i}"
            one = post(number, author_id=f"u{number}", created_at_ms=now_ms, lang=f"l{number}")
            view.update_post(one, i, now_ms)
        combiner.tick(now_ms)
        combiner.cycle(now_ms)
        while view.pruning.is_running:
            combiner.work(now_ms)
        now_ms += HOUR_MS + 1
    assert view.ids.bound <= 900
    most = 2 * 600 + 1024 + 600  # twice what was kept, and what came since
    assert len(view.authors) + len(view.groups) <= most
    assert view.authors.bound + len(view.groups.values) <= most
    assert len(combiner._live.current.matcher._by_group) <= most
    check_invariants(combiner, now_ms - HOUR_MS - 1)
    # A feed made anew asks no group that is gone.
    assert None in view.groups.values
    written = set(combiner.ranking("global").written)
    combiner.apply(with_settings(combiner, weights__global={"quality": 1, "engagement": 0}))
    (change,) = combiner.cycle(now_ms - HOUR_MS - 1).feeds
    assert {post_id for post_id, _ in change.entries} == written


def test_a_number_used_again_stands_for_the_new_author_alone() -> None:
    combiner = Combiner(NAMES)
    feed = {"match": {"authors": ["wanted"]}}
    combiner.apply(with_settings(combiner, feeds__few=feed))
    view = combiner.view
    add(combiner, 1, post("w", author_id="wanted", communities=("only",)), 0.1)
    combiner.cycle(NOW_MS)
    view.update_post(Deletion("w", deleted=True), 2, NOW_MS)
    for i in range(2000):
        view.update_post(post(f"p{i}", author_id=f"u{i}"), 1, NOW_MS)
    combiner.tick(NOW_MS)
    combiner.work(NOW_MS)
    assert view.authors.find("wanted") is None
    assert sum(not view.authors[n] for n in range(view.authors.bound)) > 0
    for i in range(5):
        add(combiner, 1, post(f"n{i}", author_id=f"v{i}", communities=("other",)), 0.1)
    add(combiner, 3, post("w", author_id="wanted"), 0.1)
    combiner.tick(NOW_MS)
    combiner.cycle(NOW_MS)
    assert list(combiner.ranking("few").written) == ["w"]
    assert "community:only" not in combiner.feeds
    assert len(combiner.ranking("community:other").written) == 5


def test_deletions_are_told_again_after_redis_failed_until_it_forgets_by_itself() -> None:
    combiner = Combiner(NAMES)
    add(combiner, 1, post("a"), 0.1)
    combiner.cycle(NOW_MS)
    combiner.view.update_post(Deletion("a", deleted=True), 2, NOW_MS)
    assert [change.post_id for change in combiner.cycle(NOW_MS)[0]] == ["a"]
    assert combiner.cycle(NOW_MS)[0] == []
    combiner.rewrite_all()  # Redis was away: the removal may not have reached it
    [removal] = combiner.cycle(NOW_MS)[0]
    assert (removal.post_id, dict(removal.fields)) == ("a", {})


def test_deletions_are_not_told_for_ever() -> None:
    combiner = Combiner(NAMES)
    for week in range(8):
        now_ms = NOW_MS + week * 169 * HOUR_MS
        for i in range(1000):
            one = post(f"{week}.{i}", created_at_ms=now_ms)
            combiner.view.update_post(one, 1, now_ms)
            combiner.view.update_post(Deletion(one.post_id, deleted=True), 2, now_ms)
        combiner.cycle(now_ms)
        for _ in ALL_SHARDS:
            combiner.tick(now_ms)
        assert sum(map(len, combiner._pending._tombstones)) == 1000


@pytest.mark.parametrize("count", [24_000])
def test_a_live_post_takes_a_few_hundred_bytes(count: int) -> None:
    tracemalloc.start()
    combiner, random = Combiner(NAMES), Random(3)
    for i in range(count):
        one = post(
            f"post-{i:012d}",
            author_id=f"author-{i // 3:08d}",
            created_at_ms=NOW_MS - random.randrange(100 * HOUR_MS),
            lang="en",
            communities=(f"c{i % 50}",),
        )
        add(combiner, i, one, random.random() / 2)
        if i % 2000 == 1999:
            combiner.cycle(NOW_MS)
    combiner.tick(NOW_MS)
    combiner.cycle(NOW_MS)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    view = combiner.view
    kept += mapped_bytes(combiner)
    # Columns that nobody writes are address space, no memory.
    kept -= mapped_bytes(*(view.signals[name] for name in NAMES.all if name not in view.written))
    print(f"{kept / count:.0f} bytes a live post at {count:,}, {combiner.view.capacity:,} rows")
    assert len(combiner.view) == count
    # A worker may take 450, of which 130 are the counts.
    assert kept / count < 320
