"""Batches of records make of a view what the rules say of one record after the other.

Ids repeat within a batch; versions come early, late and again; posts and signals are deleted.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.view import POST_CHANGED, PostView

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
DRAWN = ("spam", "extreme", "engagement", "novelty")
NONE = -1

PostRecord = tuple[Post | Deletion, int, int]
Written = tuple[str, str, Signal | None]


@dataclass
class PlainView:
    """The rules, with a dict for everything."""

    posts: dict[str, tuple[int, int, int, str]] = field(default_factory=dict)
    stored: dict[tuple[str, str], Signal] = field(default_factory=dict)
    waiting: dict[tuple[str, str], list[Signal]] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    written: set[str] = field(default_factory=set)
    bits: dict[str, int] = field(default_factory=lambda: PostView(NAMES).bits)

    def take_post(self, record: PostRecord) -> None:
        """The newest version holds; what waited for it, or for an earlier one, counts now."""
        one, offset, arrived_ms = record
        post_id = one.post_id
        if offset <= self.version(post_id):
            return
        if isinstance(one, Deletion):
            self.changed.pop(post_id, None)
            self.posts.pop(post_id, None)
            for name in NAMES.all:
                self.stored.pop((post_id, name), None)
                left = [s for s in self.waiting.pop((post_id, name), []) if s.post_offset > offset]
                if left:
                    self.waiting[post_id, name] = left
            return
        self.changed[post_id] |= POST_CHANGED
        created_ms = min(one.created_at_ms, arrived_ms)
        self.posts[post_id] = offset, created_ms, arrived_ms, one.author_id
        for name in NAMES.all:
            for early in self.waiting.pop((post_id, name), []):
                self.take_signal((name, post_id, early))

    def take_signal(self, written: Written) -> None:
        """The newest version and revision hold; a coming version's signal waits for it."""
        name, post_id, one = written
        at = post_id, name
        if one is None:
            self.waiting.pop(at, None)
            self.stored.pop(at, None)
            if post_id in self.posts and name in self.written:
                self.changed[post_id] |= self.bits[name]
            return
        waits = self.waiting.get(at)
        if waits and order(one) < order(waits[-1]):
            return
        if one.post_offset > self.version(post_id):
            waits = self.waiting.setdefault(at, [])
            while waits and waits[-1].post_offset == one.post_offset:
                if waits[-1].value is not None and one.value is None:
                    break
                waits.pop()
            waits.append(one)
            return
        before = self.stored.get(at)
        if before and order(one) < order(before):
            return
        value = one.value
        if value is None and name not in NAMES.gates:
            value = before.value if before else 0.0
        self.stored[at] = signal(
            post_id,
            one.post_offset,
            value,
            version=one.version,
            at_ms=one.at_ms,
            error=one.error,
            revision=one.revision,
        )
        self.written.add(name)
        self.changed[post_id] |= self.bits[name]

    def version(self, post_id: str) -> int:
        return self.posts.get(post_id, (NONE,))[0]


def order(one: Signal) -> tuple[int, int]:
    return one.post_offset, one.revision


class Draw:
    """Records about few posts: offsets rise, but for some that come late."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ids = [f"{self.random.choice(('p', 'é', 'post-'))}{i}" for i in range(150)]
        self.at_ms = NOW_MS

    def offset(self) -> int:
        return self.random.randrange(12)

    def posts(self) -> list[PostRecord]:
        return [self.post() for _ in range(self.random.choice((1, 5, 60, 300)))]

    def post(self) -> PostRecord:
        random = self.random
        post_id = random.choice(self.ids)
        self.at_ms += 1
        if random.random() < 0.15:
            return Deletion(post_id, deleted=True), self.offset(), self.at_ms
        author = f"u{random.randrange(40)}"
        created_ms = self.at_ms + random.randrange(-9, 9)
        return post(post_id, author_id=author, created_at_ms=created_ms), self.offset(), self.at_ms

    def written(self, names: tuple[str, ...]) -> list[Written]:
        return [self.signal(names) for _ in range(self.random.choice((1, 5, 60, 300)))]

    def signal(self, names: tuple[str, ...]) -> Written:
        random = self.random
        name, post_id = random.choice(names), random.choice(self.ids)
        self.at_ms += 1
        if random.random() < 0.05:
            return name, post_id, None
        value = None if random.random() < 0.1 else random.randrange(64) / 64
        made = signal(
            post_id,
            self.offset(),
            value,
            version=f"v{random.randrange(3)}",
            at_ms=self.at_ms,
            revision=random.choice((0, 0, 1, 2)),
        )
        return name, post_id, made


def stored_in(view: PostView) -> dict[tuple[str, str], StoredSignal]:
    rows = {view.ids[row]: row for row in view.live_rows().tolist()}
    found = {(one, name): view.signal(rows[one], name) for one in rows for name in NAMES.all}
    return {at: one for at, one in found.items() if one is not None}


def posts_in(view: PostView) -> dict[str, tuple[int, int, int, str]]:
    columns = view.post
    return {
        view.ids[row]: (
            columns.offset.item(row),
            columns.created_ms.item(row),
            columns.arrived_ms.item(row),
            view.author_of(row),
        )
        for row in view.live_rows().tolist()
    }


def waiting_in(view: PostView) -> dict[tuple[str, str], list[Signal]]:
    early = view.early._by_row
    return {
        (view.ids[row], name): [*some] for row, of in early.items() for name, some in of.items()
    }


def changed_in(view: PostView) -> dict[str, int]:
    """What changed of posts that are there."""
    rows, masks = view.take_changed()
    live = {*view.live_rows().tolist()}
    found = {
        view.ids[row]: mask
        for row, mask in zip(rows.tolist(), masks.tolist(), strict=True)
        if row in live
    }
    view.recycle(rows[view.freed_among(rows)])
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_does_what_its_records_do_one_after_the_other(seed: int) -> None:
    draw, plain, view = Draw(seed), PlainView(), PostView(NAMES)
    for _ in range(60):
        kind = draw.random.choice(("posts", "log", "written"))
        if kind == "posts":
            records = draw.posts()
            view.update_posts(*map(list, zip(*records, strict=True)))
            for record in records:
                plain.take_post(record)
        else:
            names = DRAWN if kind == "written" else (draw.random.choice(DRAWN),)
            written = draw.written(names)
            if kind == "written":
                view.update_written(written)
            else:
                view.update_signals(names[0], [one or post_id for _, post_id, one in written])
            for one in written:
                plain.take_signal(one)
        assert posts_in(view) == plain.posts
        expected = {
            at: StoredSignal(
                one.value,
                one.model,
                one.version,
                one.post_offset,
                one.at_ms,
                one.error,
                one.revision,
            )
            for at, one in plain.stored.items()
        }
        assert stored_in(view) == expected
        assert waiting_in(view) == plain.waiting
        assert len(view) == len({*plain.posts, *(post_id for post_id, _ in plain.waiting)})
        assert changed_in(view) == plain.changed
        plain.changed.clear()
    assert len(plain.posts) > 20 and plain.waiting and plain.stored


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_a_batch_drops_are_not_used_by_its_later_records(seed: int) -> None:
    """Too many signals of programs wait, so that each further one drops others with their rows."""
    draw, batches, singly = Draw(seed), PostView(NAMES, 4), PostView(NAMES, 4)
    for _ in range(40):
        records, written = draw.posts(), draw.written(("extreme", "novelty"))
        batches.update_posts(*map(list, zip(*records, strict=True)))
        batches.update_written(written)
        for post_record in records:
            singly.update_post(*post_record)
        for one in written:
            singly.update_written([one])
        assert posts_in(batches) == posts_in(singly)
        assert stored_in(batches) == stored_in(singly)
        assert waiting_in(batches) == waiting_in(singly)
        assert changed_in(batches) == changed_in(singly)
    assert batches.early.dropped == singly.early.dropped > 100
