"""The hide-rate guard in a worker: what is lowered, when the alarm comes and goes, restarts."""

import logging

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog
from builders.records import StoredRecord, record
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.filters.source_window import WINDOW_BYTES
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.streams.filters.filter_guard import SLICE_BYTES, FilterGuard
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import Turn

HERE = TopicPartition("posts", 0)


def score(posts: PostBatch, _: int = 0) -> BatchVerdicts:
    """A model that reads the value out of the text."""
    return BatchVerdicts(np.array([float(post.text) for post in posts.posts]), {})


def records(values: list[float], first: int = 0, rest: str = "") -> list[StoredRecord]:
    """Posts of the community `x` of which the model says these values."""
    return [
        record(
            f"p{first + i}",
            Post(f"p{first + i}", "a", NOW_MS, str(value) + rest, communities=("x",)),
            offset=first + i,
            timestamp=NOW_MS + 1000 * (first + i),
        )
        for i, value in enumerate(values)
    ]


def made(log: list[StoredRecord], start: int = 0) -> tuple[FilterGuard, Metrics, FakeLog]:
    metrics, fake = Metrics("spam", "one"), FakeLog({HERE: log})
    guard = FilterGuard("spam", 0.10, 1, metrics, score, fake.open)
    guard.settings_changed(Settings())
    guard.assigned(AssignmentChange(1, gained=(0,), starts={HERE: start}))
    turns = 0
    while not guard.is_ready(0):
        guard.read()
        turns += 1
        assert turns < 1000
    return guard, metrics, fake


def lowered(guard: FilterGuard, came: list[StoredRecord]) -> BatchVerdicts:
    work = decode_work([RecordBatch(HERE, came)], [], partitions=1, epoch=1, now_ms=0)
    said = score(work.posts)
    guard.lower(work, said)
    return said


def gauge(metrics: Metrics, name: str) -> float:
    lines = [line for line in metrics.text().splitlines() if line.startswith(name + "{")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_an_alarm_comes_once_and_goes_once(caplog: pytest.LogCaptureFixture) -> None:
    guard, metrics, _ = made([])
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


@pytest.mark.parametrize(
    ("count", "rest", "begin"),
    # Of long posts those of the last 4 MiB.
    [(6000, "", 500), (1000, " " * 19_900, 900 - WINDOW_BYTES // 20_000)],
)
def test_after_a_restart_it_lowers_at_once_what_it_would_have_lowered(
    count: int, rest: str, begin: int
) -> None:
    rng = np.random.default_rng(3)
    log = records([0.95 if one < 0.3 else 0.1 for one in rng.random(count)], rest=rest)
    first, _, _ = made([])
    start = count - count // 10 if rest else 5500
    for at in range(0, start, 100):
        lowered(first, log[at : at + 100])
    expected = lowered(first, log[start:])
    assert expected.reasons
    again, _, fake = made(log, start)
    # To measure the window, then to score it.
    assert fake.reads[0] == (HERE, max(0, start - 5000))
    assert 0 <= fake.reads[1][1] - begin <= 3
    found = lowered(again, log[start:])
    assert found.values.tolist() == expected.values.tolist()
    assert found.reasons == expected.reasons


def test_guards_of_a_worker_read_their_windows_one_after_the_other() -> None:
    turn, guards, fakes = Turn(), [], []
    for name in ("spam", "nsfw"):
        fake = FakeLog({HERE: records([0.95, 0.1] * 300)})
        guard = FilterGuard(name, 0.10, 1, Metrics(name, "one"), score, fake.open)
        guard.turn = turn
        guard.assigned(AssignmentChange(1, gained=(0,), starts={HERE: 600}))
        guards.append(guard)
        fakes.append(fake)
    while not guards[0].is_ready(0):
        for guard in guards:
            assert guard.read() or guard is guards[0]
        assert not fakes[1].reads
        assert not guards[1].is_ready(0)
        assert guards[1].ready_reason()
    while any(guard.read() for guard in guards):
        pass
    assert (guards[1].is_ready(0), guards[1].ready_reason()) == (True, "")
    # One whose partition went has no turn.
    guards[0].assigned(AssignmentChange(2, gained=(0,), starts={HERE: 600}))
    assert guards[0].read()
    guards[0].assigned(AssignmentChange(3, lost=(0,)))
    assert not guards[0].read()
    assert turn.take(guards[1])


def test_of_long_posts_few_are_scored_at_once_and_none_that_no_model_may_judge() -> None:
    scored: list[list[str]] = []

    def note(posts: PostBatch, _: int) -> BatchVerdicts:
        scored.append([post.post_id for post in posts.posts])
        return BatchVerdicts(np.zeros(len(posts)), {})

    texts = ["a " * 10_000] * 60 + ["short"] * 60
    log = [record(f"p{i}", Post(f"p{i}", "a", NOW_MS, t), offset=i) for i, t in enumerate(texts)]
    guard = FilterGuard("spam", 0.10, 1, Metrics("spam", "one"), note, FakeLog({HERE: log}).open)
    guard.poisoned = lambda _: {7: "judged by no model", 100: "judged by no model"}
    guard.assigned(AssignmentChange(1, gained=(0,), starts={HERE: len(log)}))
    while guard.read():
        pass
    met = [post_id for some in scored for post_id in some]
    assert met == [f"p{i}" for i in range(120) if i not in (7, 100)]
    assert len(scored[0]) * 20_000 < SLICE_BYTES + 20_000
    assert max(map(len, scored)) > 40


def test_a_lost_partition_starts_anew() -> None:
    guard, metrics, _ = made([])
    lowered(guard, records([0.95, 0.1] * 200))
    assert gauge(metrics, "feedmill_capped_sources") == 1
    guard.assigned(AssignmentChange(2, lost=(0,)))
    assert gauge(metrics, "feedmill_capped_sources") == 0
