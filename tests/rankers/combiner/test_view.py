"""The view against plain dicts and lists; one by one and in batches it is the same."""

from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner import signal_columns
from feedmill.rankers.combiner.feed_matcher import PostGroup
from feedmill.rankers.combiner.gate_decisions import verdict_of
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.view import POST_CHANGED, PostView, signal_bit

NAMES = SignalNames.parse("extreme:gate,novelty:objective")


class Known(NamedTuple):
    """What is known of a post."""

    offset: int
    created_ms: int
    arrived_ms: int
    author: str
    group: PostGroup


class Model:
    """What must be in the view: the records as they came, and rules of the contract."""

    def __init__(self) -> None:
        self.posts: dict[str, Known] = {}
        self.received: dict[tuple[str, str], list[Signal]] = {}

    def update_post(self, one: Post | Deletion, offset: int, timestamp_ms: int) -> None:
        known = self.posts.get(one.post_id)
        if known is not None and known.offset >= offset:
            return
        if isinstance(one, Deletion):
            self.posts.pop(one.post_id, None)
            for name in NAMES.all:
                received = self.received.pop((one.post_id, name), [])
                later = [s for s in received if s.post_offset > offset]
                if later:
                    self.received[one.post_id, name] = later
            return
        created_ms, group = min(one.created_at_ms, timestamp_ms), PostGroup.of(one)
        self.posts[one.post_id] = Known(offset, created_ms, timestamp_ms, one.author_id, group)

    def update(self, name: str, one: Signal | str) -> None:
        if isinstance(one, str):
            self.received.pop((one, name), None)
            return
        received = self.received.setdefault((one.post_id, name), [])
        if received and order(one) < order(received[-1]):
            return
        received.append(one)

    def ids(self) -> set[str]:
        return {*self.posts, *(post_id for post_id, _ in self.received)}

    def signal(self, post_id: str, name: str) -> StoredSignal | None:
        if post_id not in self.posts:
            return None
        offset = self.posts[post_id].offset
        arrived = [s for s in self.received.get((post_id, name), []) if s.post_offset <= offset]
        if not arrived:
            return None
        last, good = arrived[-1], [s.value for s in arrived if s.value is not None]
        value = last.value
        if name in NAMES.objectives:
            value = good[-1] if good else 0.0
        if value is not None:
            value = float(np.float32(value))
        return StoredSignal(
            value, last.model, last.version, last.post_offset, last.at_ms, last.error, last.revision
        )


def order(one: Signal) -> tuple[int, int]:
    return one.post_offset, one.revision


class World:
    """The same records for a view and the model."""

    def __init__(self, random: Random, pool: int) -> None:
        self.random = random
        self.pool = pool
        self.view, self.model = PostView(NAMES), Model()
        self.offset = 0
        self.last: dict[str, int] = {}

    def post_id(self) -> str:
        return f"p{self.random.randrange(self.pool)}"

    def posts(self) -> None:
        posts, offsets, timestamps = [], [], []
        for _ in range(self.random.choice((1, 5, 60))):
            random, post_id = self.random, self.post_id()
            self.offset += 1
            offset = self.offset
            if random.random() < 0.1:  # read again
                offset = self.last.get(post_id, offset)
            self.last[post_id] = offset
            posts.append(self.draw_post(post_id) if random.random() < 0.9 else delete(post_id))
            offsets.append(offset)
            timestamps.append(NOW_MS + random.randrange(1000))
        self.view.update_posts(posts, offsets, timestamps)
        for args in zip(posts, offsets, timestamps, strict=True):
            self.model.update_post(*args)

    def draw_post(self, post_id: str) -> Post:
        random = self.random
        return post(
            post_id,
            author_id=f"u{random.randrange(9)}",
            created_at_ms=NOW_MS + random.choice((-5000, 500, 5000)),
            lang=random.choice((None, "en")),
            communities=random.choice((None, ("a",), ("a", "b", "a"))),
            in_reply_to=random.choice((None, "x")),
        )

    def signals(self) -> None:
        """Signals of one name, and withdrawals, in their order."""
        name = self.random.choice(NAMES.all)
        drawn = [self.draw_change() for _ in range(self.random.choice((1, 5, 60)))]
        self.view.update_signals(name, drawn)
        for one in drawn:
            self.model.update(name, one)

    def written(self) -> None:
        """The same of all names."""
        names = [self.random.choice(NAMES.all) for _ in range(self.random.choice((1, 5, 60)))]
        drawn = [(name, self.draw_change()) for name in names]
        self.view.update_written(
            (name, one, None) if isinstance(one, str) else (name, one.post_id, one)
            for name, one in drawn
        )
        for name, one in drawn:
            self.model.update(name, one)

    def draw_change(self) -> Signal | str:
        return self.post_id() if self.random.random() < 0.1 else self.draw_signal()

    def draw_signal(self) -> Signal:
        random, post_id = self.random, self.post_id()
        last = self.last.get(post_id, 0)
        # Those of the far future outlive a deletion.
        about = random.choice((last, last, last, last, last, last - 1, last + 1, self.offset + 99))
        return signal(
            post_id,
            max(about, 0),
            random.choice((0.1, 0.5, 0.9, None)),
            model=random.choice("mn"),
            version=random.choice("12"),
            at_ms=NOW_MS + random.choice((0, 7, -(2**40))),
            revision=random.choice((0, 0, 1, 2, 2**62)),
        )

    def take(self) -> None:
        take_all(self.view)

    def check(self) -> None:
        check(self.view, self.model)


def delete(post_id: str) -> Deletion:
    return Deletion(post_id, deleted=True)


def take_all(view: PostView) -> dict[int, int]:
    """What changed, by row; freed rows are recycled."""
    rows, masks = view.take_changed()
    view.recycle(rows[view.freed_among(rows)])
    return dict(zip(rows.tolist(), masks.tolist(), strict=True))


def check(view: PostView, model: Model) -> None:
    ids = model.ids()
    assert len(view) == len(ids)
    assert view.row_of("unknown") is None
    live = {view.ids[row] for row in view.live_rows().tolist()}
    assert live == set(model.posts)
    for post_id in ids:
        row = view.row_of(post_id)
        assert row is not None
        if post_id in model.posts:
            assert known(view, row) == model.posts[post_id]
        for name in NAMES.all:
            check_signal(view, row, name, model.signal(post_id, name))


def known(view: PostView, row: int) -> Known:
    columns = view.post
    return Known(
        int(columns.offset[row]),
        int(columns.created_ms[row]),
        int(columns.arrived_ms[row]),
        view.author_of(row),
        view.groups.values[columns.group[row]],
    )


def check_signal(view: PostView, row: int, name: str, expected: StoredSignal | None) -> None:
    assert view.signal(row, name) == expected
    column, at = view.signals[name], np.array([row], np.int32)
    [value] = column.value[at].tolist()
    is_current = expected is not None and expected.post_offset == view.post.offset[row]
    assert column.is_current(at).tolist() == [is_current]
    if expected is None:
        assert np.isnan(value) if name in NAMES.gates else value == 0
    else:
        assert np.isnan(value) if expected.value is None else value == expected.value
    if name in NAMES.gates:
        verdict = verdict_of(view, row, name)
        if is_current and expected is not None:
            assert (verdict.value, verdict.label) == (expected.value, f"{name}@{expected.version}")
        else:
            assert verdict.label == f"{name}@none"


@pytest.mark.parametrize("pool", [40, 600])
@pytest.mark.parametrize("seed", range(3))
def test_the_view_holds_what_the_records_say(pool: int, seed: int) -> None:
    world = World(Random(seed), pool)
    steps = [world.posts, world.signals, world.signals, world.written, world.take]
    for i in range(250):
        world.random.choice(steps)()
        if i % 10 == 0:
            world.check()
    world.check()


def test_all_that_changes_is_told() -> None:
    random = Random(1)
    world = World(random, 60)
    view = world.view
    for _ in range(150):
        before = snapshot(view)
        random.choice((world.posts, world.signals, world.written))()
        after = snapshot(view)
        changed = take_all(view)
        for row in before.keys() | after.keys():
            was, now = before.get(row, {}), after.get(row, {})
            differ = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
            if "offset" in differ:
                assert changed[row] & POST_CHANGED
                differ = set()
            for name in differ:
                assert changed[row] & signal_bit(NAMES.all.index(name))


def snapshot(view: PostView) -> dict[int, dict[str, Any]]:
    rows = view.live_rows().tolist()
    return {
        row: {"offset": view.post.offset[row], **{n: view.signal(row, n) for n in NAMES.all}}
        for row in rows
    }


def test_more_models_than_the_table_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_columns, "_MODEL", 7)  # six models, and one state for the others
    monkeypatch.setattr(signal_columns, "_CURRENT", 8)
    view, count = PostView(NAMES), 40
    ids = [f"p{i}" for i in range(count)]
    view.update_posts([post(one) for one in ids], [1] * count, [NOW_MS] * count)
    for turn in range(3):
        signals = [signal(p, 1, 0.5, version=str((i * 7 + turn) % 20)) for i, p in enumerate(ids)]
        for one in signals:
            view.update_signal("spam", one)
        assert len(view.models) == 6
        for one in signals:
            stored = stored_signal(view, one.post_id, "spam")
            assert (stored.model, stored.version) == ("m", one.version)
    view.free(list(range(count)))
    assert view.signals["spam"]._far_models == {}


def stored_signal(view: PostView, post_id: str, name: str) -> StoredSignal:
    row = view.row_of(post_id)
    assert row is not None
    stored = view.signal(row, name)
    assert stored is not None
    return stored


def test_of_equal_offsets_the_lower_revision_loses_and_of_equal_revisions_the_earlier() -> None:
    view = PostView(NAMES)
    view.update_post(post("p"), 5, NOW_MS)
    for value, revision, expected in (
        (0.1, 7, 0.1),
        (0.2, 6, 0.1),  # a paused owner writes late
        (0.3, 7, 0.3),
        (0.4, 8, 0.4),
    ):
        view.update_signal("engagement", signal("p", 5, value, revision=revision))
        stored = stored_signal(view, "p", "engagement")
        assert stored.value == float(np.float32(expected))
    view.update_post(post("p"), 9, NOW_MS)
    # Of another version: the revision of the one before does not matter.
    view.update_signal("engagement", signal("p", 9, 0.5, revision=1))
    assert stored_signal(view, "p", "engagement").post_offset == 9


def test_what_posts_lack_that_came_some_time_ago() -> None:
    view = PostView(NAMES)
    own = NAMES.own
    assert own == ("extreme", "novelty")
    view.update_post(post("p", created_at_ms=NOW_MS), 1, NOW_MS)
    assert view.lacking(own, NOW_MS) == []
    assert view.lacking(own, NOW_MS + 1) == ["extreme", "novelty"]
    view.update_signal("novelty", signal("p", 1, 0.5))
    view.update_signal("extreme", signal("p", 1, None, error="no model"))
    assert view.lacking(own, NOW_MS + 1) == []
    # An edit is to be judged again; a deletion is not.
    view.update_post(post("p", created_at_ms=NOW_MS), 2, NOW_MS)
    assert view.lacking(own, NOW_MS + 1) == ["extreme", "novelty"]
    view.update_post(Deletion("p", deleted=True), 3, NOW_MS)
    assert view.lacking(own, NOW_MS + 1) == []
