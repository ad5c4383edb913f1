"""The hide-rate guard in a worker: what is lowered, when the alarm comes and goes, restarts."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog
from builders.records import StoredRecord, record
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.streams.filters.filters import FilterGuard
from feedmill.streams.filters.post_windows import PostWindows
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring.batch_scores import BatchScores
from feedmill.streams.worker.decoding import decode_work

HERE = TopicPartition("posts", 0)


def score(posts: PostBatch, _: int = 0) -> BatchScores:
    """A model that reads the value out of the text."""
    return BatchScores(np.array([float(post.text) for post in posts.posts]), {})


def records(
    values: list[float], first: int = 0, rest: str = "", *, authors: int = 31
) -> list[StoredRecord]:
    """Posts of the community `x` of which the model says these values."""
    return [
        record(
            f"p{first + i}",
            Post(
                f"p{first + i}",
                f"a{(first + i) % authors}",
                NOW_MS,
                str(value) + rest,
                communities=("x",),
            ),
            offset=first + i,
            timestamp=NOW_MS + 1000 * (first + i),
        )
        for i, value in enumerate(values)
    ]


def made(
    log: list[StoredRecord], start: int = 0, ahead: int | None = None
) -> tuple[FilterGuard, Metrics]:
    """A guard that has the partition, and the posts of its window.

    It has read those before the offset `ahead` before it gets the partition.
    """
    metrics, windows = Metrics("spam", "one"), PostWindows()
    guard = FilterGuard("spam", 0.10, metrics)
    guard.settings_changed(Settings())
    context: Any = SimpleNamespace(partitions=1, poisoned={})
    windows.hand_to(
        lambda at, records, posts: guard.fold(at, records, posts, score(posts)),
        context,
        FakeLog({HERE: log}).open,
    )
    if ahead is not None:
        likely = AssignmentChange(0, gained=(0,), starts={HERE: ahead})
        guard.prepare((0,))
        windows.prepare(likely)
        while not windows.is_prepared:
            windows.work(1.0)
    change = AssignmentChange(1, gained=(0,), starts={HERE: start})
    windows.assigned(change)
    guard.assigned(change, windows.kept)
    while windows.work(1.0):
        pass
    return guard, metrics


def lowered(guard: FilterGuard, came: list[StoredRecord]) -> BatchScores:
    work = decode_work([RecordBatch(HERE, came)], [], partitions=1, now_ms=0)
    said = score(work.posts)
    guard.lower(work, said)
    return said


def gauge(metrics: Metrics, name: str) -> float:
    lines = [line for line in metrics.text().splitlines() if line.startswith(name + "{")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_an_alarm_comes_once_and_goes_once(caplog: pytest.LogCaptureFixture) -> None:
    guard, metrics = made([])
    with caplog.at_level(logging.WARNING):
        for first in range(0, 400, 40):
            said = lowered(guard, records([0.95, 0.1, 0.1, 0.1] * 10, first))
        assert said.values.max() == pytest.approx(0.9, abs=1e-6)
        assert said.values.max() < 0.9
        assert said.reasons[0] == "capped: community:x has 25% flagged"
        assert gauge(metrics, "feedmill_capped_sources") == 1
        assert guard.sources == {"community:x"}
        assert gauge(metrics, "feedmill_capped_total") == 50
        lowered(guard, records([0.1] * 1600, 400))
        assert gauge(metrics, "feedmill_capped_sources") == 0
        assert guard.sources == set()
    assert [one.message[:20] for one in caplog.records] == [
        "spam flags 25 % of c",
        "spam no longer flags",
    ]


def test_an_author_of_whom_too_much_is_flagged_is_named_and_hidden() -> None:
    guard, metrics = made([])
    for first in (0, 300):
        said = lowered(guard, records([0.95] * 300, first, authors=1))
        assert said.values.min() == 0.95
        assert not said.reasons
    assert guard.sources == {"author:a0"}
    assert gauge(metrics, "feedmill_capped_sources") == 1
    assert gauge(metrics, "feedmill_capped_total") == 0


# Of long posts the window has those of the last 4 MiB.
@pytest.mark.parametrize("behind", [None, 0, 300, -50])
@pytest.mark.parametrize(("count", "rest"), [(6000, ""), (1000, " " * 19_900)])
def test_after_a_restart_it_lowers_at_once_what_it_would_have_lowered(
    count: int, rest: str, behind: int | None
) -> None:
    rng = np.random.default_rng(3)
    log = records([0.95 if one < 0.3 else 0.1 for one in rng.random(count)], rest=rest)
    first, _ = made([])
    start = count - count // 10 if rest else 5500
    for at in range(0, start, 100):
        lowered(first, log[at : at + 100])
    expected = lowered(first, log[start:])
    assert expected.reasons
    again, _ = made(log, start, None if behind is None else start - behind)
    found = lowered(again, log[start:])
    assert found.values.tolist() == expected.values.tolist()
    assert found.reasons == expected.reasons


def test_a_lost_partition_starts_anew() -> None:
    guard, metrics = made([])
    lowered(guard, records([0.95, 0.1] * 200))
    assert gauge(metrics, "feedmill_capped_sources") == 1
    guard.assigned(AssignmentChange(2, lost=(0,)))
    assert gauge(metrics, "feedmill_capped_sources") == 0
