"""A candidate judges partitions, or scores in shadow, and counts how the gate would differ."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import KeptWriter
from builders.records import record
from feedmill.events.decode import decode_signal
from feedmill.events.instance import ComparedPosts
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.release import Candidate
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring.batch_scores import BatchScores
from feedmill.streams.scoring.candidate_scoring import (
    CandidateScoring,
    Gate,
    PostsOfHour,
    ProcessorCap,
)
from feedmill.streams.worker.decoding import decode_work

V = "a" * 12
COUNT = 2
HOUR_MS = 3_600_000
GATE = Gate(0.9, 0.6)


class Model:
    """Says of a post the number that its text ends with; raises where it is none."""

    name, version = "spam", V

    def __init__(self, on_call: Callable[[], None]) -> None:
        self.batches: list[PostBatch] = []
        self._on_call = on_call

    def score_batch(self, batch: PostBatch) -> Scores:
        self.batches.append(batch)
        self._on_call()
        return np.array([float(one.text.rpartition(" ")[2]) for one in batch.posts])


class Trial:
    """A candidate, and cycles that bring posts of which the model in force says `old`."""

    def __init__(
        self,
        partitions: int = 0,
        on_call: Callable[[], None] = lambda: None,
        ms_a_post: float = 0.02,
        **more: Any,
    ) -> None:
        self.model = Model(on_call)
        fields = Candidate("a" * 64, (0.5,), partitions=partitions, **more)
        self.hour = PostsOfHour()
        self.candidate = CandidateScoring(cast(Any, self.model), 7, fields, ms_a_post, self.hour)
        self.writer, self.metrics = KeptWriter(), Metrics("spam", "one")
        self.offsets = [0] * COUNT

    def cycle(
        self, *posts: tuple[str, str], old: float = 0.5, at_ms: int = NOW_MS, partition: int = 0
    ) -> BatchScores:
        """Bring posts of one partition, by author and text."""
        records = []
        for author, text in posts:
            offset = self.offsets[partition]
            ids = (f"{partition}-{offset}-{n}" for n in itertools.count())
            post_id = next(one for one in ids if partition_of(one.encode(), COUNT) == partition)
            records.append(
                record(post_id, Post(post_id, author, at_ms, text), offset=offset, timestamp=at_ms)
            )
            self.offsets[partition] += 1
        source = TopicPartition("posts", partition)
        batch = RecordBatch(source, cast(Any, records))
        work = decode_work([batch], [], partitions=COUNT, now_ms=7)
        own = BatchScores(np.full(len(work.posts), old), {})
        return self.candidate.score(work, own, GATE, self.writer, self.metrics)

    def written(self) -> list[Signal]:
        assert {topic for topic, *_ in self.writer.added} <= {"shadow"}
        values = [(key, value) for _, key, value, _ in self.writer.added if value]
        return [decode_signal("spam", SignalNames(), key, value) for key, value in values]

    def count(self, name: str) -> float:
        lines = [line for line in self.metrics.text().splitlines() if line.startswith(name)]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def authors(*texts: str) -> list[tuple[str, str]]:
    return [(f"a{n}", text) for n, text in enumerate(texts)]


def test_in_shadow_it_scores_beside_the_model_in_force_and_changes_nothing() -> None:
    trial = Trial()
    found = trial.cycle(*authors("tea 0.25", "cup 0.95"))
    assert found.values.tolist() == [0.5, 0.5]
    assert [(one.post_offset, one.value, one.version) for one in trial.written()] == [
        (0, 0.25, V),
        (1, pytest.approx(0.95), V),
    ]
    # The features that the step computed are read again.
    assert len(trial.model.batches) == 1
    assert trial.candidate.compared == {0: ComparedPosts(2, 1, 0, 1, 0)}
    assert trial.count("feedmill_shadow_posts_total") == 2
    assert trial.count("feedmill_shadow_cpu_seconds_total") > 0


def test_it_judges_its_partitions_alone() -> None:
    trial = Trial(partitions=1)
    assert trial.cycle(*authors("tea 0.25", "cup 0.75")).values.tolist() == [0.25, 0.75]
    assert trial.cycle(*authors("tea 0.25"), partition=1).values.tolist() == [0.5]
    assert [trial.candidate.judges(partition) for partition in (0, 1)] == [True, False]
    assert (trial.written(), len(trial.model.batches)) == ([], 1)


@pytest.mark.parametrize("partitions", [0, 1])
@pytest.mark.parametrize("text", ["nan", "1.5", "no number"])
def test_where_it_fails_the_model_in_force_has_judged_all(partitions: int, text: str) -> None:
    trial = Trial(partitions)
    assert trial.cycle(*authors("tea 0.25", text)).values.tolist() == [0.5, 0.5]
    assert trial.candidate.failure.startswith("ValueError: ")
    assert trial.cycle(*authors("tea 0.25")).values.tolist() == [0.5]
    assert (trial.written(), trial.candidate.compared) == ([], {})
    assert not trial.candidate.judges(0)


def test_it_counts_who_alone_hides_and_who_alone_demotes_or_hides() -> None:
    trial = Trial(partitions=2)
    trial.cycle(*authors("a 0.95", "b 0.7", "c 0.1"), old=0.5)
    trial.cycle(("x", "d 0.95"), ("y", "e 0.7"), ("z", "f 0.1"), old=0.92)
    trial.cycle(("x", "g 0.1"), partition=1, old=0.65, at_ms=NOW_MS + HOUR_MS)
    assert trial.candidate.compared == {
        0: ComparedPosts(6, 1, 2, 2, 1),
        1: ComparedPosts(1, 0, 0, 0, 1),
    }


def test_an_author_and_a_text_count_once_an_hour_in_all_partitions() -> None:
    trial = Trial(partitions=2)
    trial.cycle(("ann", "Buy  now 0.95"), ("bob", "buy now 0.95"), ("ann", "tea 0.1"))
    trial.cycle(("cat", "BUY now 0.95"), ("dan", "cup 0.2"), partition=1)
    assert [one.posts for _, one in sorted(trial.candidate.compared.items())] == [1, 1]
    trial.cycle(("ann", "buy now 0.95"), at_ms=NOW_MS + HOUR_MS)
    assert trial.candidate.compared[0] == ComparedPosts(2, 2, 0, 2, 0)


@pytest.mark.parametrize("restores", [True, False])
def test_after_a_crash_it_goes_on_with_the_counts_of_what_was_committed(*, restores: bool) -> None:
    whole, first = Trial(partitions=1), Trial(partitions=1)
    before, after = (("ann", "tea 0.95"), ("bob", "cup 0.1")), (("ann", "mug 0.1"), ("cy", "x 0.7"))
    whole.cycle(*before)
    whole.cycle(*after)
    first.cycle(*before)
    note = first.candidate.note(0)
    assert note == "7 0 2 1 0 1 0"
    assert first.candidate.note(1) == ""
    again = Trial(partitions=1)
    again.offsets[0] = 2
    again.candidate.assigned({0: note if restores else f"6{note[1:]}"})
    if restores:
        for offset, (author, text) in enumerate(before):
            one = record("p", Post("p", author, NOW_MS, text), offset=offset, timestamp=NOW_MS)
            again.hour.take(0, one, Post("p", author, NOW_MS, text), {})
        again.cycle(*after)
        assert again.candidate.compared == whole.candidate.compared
    else:
        # Those of an earlier candidate, whose posts do not count for this one.
        again.cycle(*after)
        assert again.candidate.note(0) == "7 2 2 0 0 1 0"


def test_it_takes_its_share_of_a_core_and_what_it_leaves_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = {"s": 0.0}
    monkeypatch.setattr(time, "thread_time", lambda: cpu["s"])

    def work_hard() -> None:
        cpu["s"] += 0.004

    trial = Trial(on_call=work_hard, core_share=1e-6)
    for n in range(50):
        trial.cycle((f"a{n}", "0.5"))
    assert len(trial.written()) == 1
    assert trial.count("feedmill_shadow_posts_total") == 1
    assert trial.count("feedmill_shadow_skipped_total") == 49
    assert trial.count("feedmill_shadow_cpu_seconds_total") == pytest.approx(0.004)


def test_of_a_large_batch_some_posts_are_drawn_by_a_hash() -> None:
    trial = Trial(ms_a_post=1.0)
    trial.cycle(*authors(*(f"t{n} {n / 100}" for n in range(100))))
    signals = trial.written()
    assert len(signals) == len(trial.model.batches[0]) == 20
    assert [one.value for one in signals] == pytest.approx([s.post_offset / 100 for s in signals])
    assert [one.post_offset for one in signals] == sorted(one.post_offset for one in signals)
    assert trial.count("feedmill_shadow_skipped_total") == 80


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ({}, Gate(0.9, 0.6)),
        ({"": {"enabled": False}}, None),
        ({"": {"shadow": True}, "kids": {"shadow": False, "hide_at": 0.5}}, Gate(0.5, 0.5)),
        ({"": {"hide_at": None, "demote_at": 0.7}}, Gate(np.inf, 0.7)),
    ],
)
def test_the_gate_is_the_strictest_of_all_feeds_that_follow_it(
    gates: dict[str, dict[str, Any]], expected: Gate | None
) -> None:
    settings = Settings(SignalNames())
    for offset, (feed, policy) in enumerate(gates.items()):
        key = f"gates/{feed}".rstrip("/").encode()
        settings = settings.fold(key, json.dumps({"value": {"spam": policy}}).encode(), offset)
    assert Gate.of(settings, "spam") == expected


@pytest.mark.parametrize("piece_s", [0.0004, 0.0011, 0.008, 0.350])
def test_work_takes_its_share_and_no_more_however_large_a_piece_is(piece_s: float) -> None:
    now_s, taken_s = 100.0, 0.0
    cap = ProcessorCap(0.1, lambda: now_s)
    for _ in range(20_000):
        now_s += 0.010
        if cap.may_begin():
            cap.spend(piece_s)
            taken_s += piece_s
    # What wants less than its share is never held back.
    wanted = min(0.1, piece_s / 0.010)
    assert 0.98 * wanted <= taken_s / 200 <= wanted + (0.1 + piece_s) / 200
    # Of an hour no more is saved up than of a second.
    now_s += 3600
    pieces = 0
    while cap.may_begin():
        cap.spend(0.01)
        pieces += 1
    assert pieces in (10, 11)
