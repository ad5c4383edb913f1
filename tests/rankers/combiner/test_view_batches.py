"""Rows that a batch of records drops while it is taken.

What a batch makes of a view is in `test_combiner_oracle`.
"""

from random import Random

import pytest

from builders.events import NOW_MS, post, signal
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.view import PostView

NAMES = SignalNames.parse("extreme:gate,novelty:objective")

PostRecord = tuple[Post | Deletion, int, int]
Written = tuple[str, str, Signal | None]


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

    def written(self) -> list[Written]:
        return [self.signal() for _ in range(self.random.choice((1, 5, 60, 300)))]

    def signal(self) -> Written:
        random = self.random
        name, post_id = random.choice(("extreme", "novelty")), random.choice(self.ids)
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
    rows, masks = view.changed.take()
    live = {*view.live_rows().tolist()}
    found = {
        view.ids[row]: mask
        for row, mask in zip(rows.tolist(), masks.tolist(), strict=True)
        if row in live
    }
    view.recycle(rows[view.freed_among(rows)])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_a_batch_drops_are_not_used_by_its_later_records(seed: int) -> None:
    """Too many signals of programs wait, so that each further one drops others with their rows."""
    draw, batches, singly = Draw(seed), PostView(NAMES, 4), PostView(NAMES, 4)
    for _ in range(40):
        records, written = draw.posts(), draw.written()
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
