"""A step knows when what it wrote last can be read again."""

import pytest

from builders.events import NOW_MS
from builders.records import record, record_batch
from feedmill.events.post import Post
from feedmill.events.signal import Signal
from feedmill.streams.scoring.last_week import UnseenSignals
from feedmill.streams.worker.decoding import decode_work


@pytest.mark.parametrize(
    ("written", "seen", "waits"),
    [
        ([("a", "text"), ("b", "text")], [("a", 0)], True),
        ([("a", "text"), ("b", "text")], [("b", 1)], False),
        ([("b", "text"), ("b", "an edit")], [("b", 0)], True),
        ([("b", "text"), ("b", "an edit")], [("b", 0), ("b", 1)], False),
        ([("a", "text"), ("a", None)], [("a", 0)], True),
        ([("a", "text"), ("a", None)], [("a", None)], False),
        # The deletion of a post that never was has no signal.
        ([("a", "text"), ("never", None)], [("a", 0)], False),
    ],
)
def test_it_waits_for_the_newest_version_that_was_written(
    written: list[tuple[str, str | None]], seen: list[tuple[str, int | None]], *, waits: bool
) -> None:
    posts = [(key, text and Post(key, "a", NOW_MS, text)) for key, text in written]
    batch = record_batch("posts", [record(k, post, offset=i) for i, (k, post) in enumerate(posts)])
    work = decode_work(
        [batch], [], partitions=1, epoch=1, now_ms=5, never_was=lambda _, key: key == "never"
    )
    unseen = UnseenSignals("signals.spam", {one.partition: one for one in work.newest()})
    assert unseen.wait()
    signals = [(key, None if at is None else Signal(key, at, 0.1, "m", "1", 0)) for key, at in seen]
    unseen.see(record_batch("signals.spam", [record(key, one) for key, one in signals]))
    assert unseen.wait() is waits
