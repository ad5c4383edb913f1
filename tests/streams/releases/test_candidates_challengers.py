"""Challengers score live posts, decide nothing, and are stopped alone."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import KeptWriter
from builders.records import StoredRecord, record
from builders.waiting import until
from feedmill.events.decode import decode_signal
from feedmill.events.post import Post
from feedmill.events.release import Challenger
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases.candidates import Challengers, ProcessorCap, load_challenger
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import LoadedText, load_model, shipped_sha256
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import WorkBatch

POSTS = TopicPartition("posts", 0)
A, B = "a" * 64, "b" * 64


class Model:
    """Says of a post the number that its text is; raises where it is none."""

    name = "spam"

    def __init__(self, version: str, on_call: Callable[[], None] = lambda: None) -> None:
        self.version = version
        self.batches: list[PostBatch] = []
        self._on_call = on_call

    def score_batch(self, batch: PostBatch) -> Scores:
        self.batches.append(batch)
        self._on_call()
        return np.array([float(one.text) for one in batch.posts])


class Worker:
    """The challengers of a worker that runs spam and engagement, and the records of `models`."""

    def __init__(self, ms_a_post: float = 0.02) -> None:
        self.fold = ReleaseFold(("spam", "engagement"))
        self.writer = KeptWriter()
        self.champion = SimpleNamespace(models={"spam": "champion"})
        self.models: dict[str, Model] = {}
        self.metrics = Metrics("worker", "one")
        self._ms_a_post = ms_a_post
        self._offset = 0
        steps: Any = {"spam": self.champion, "engagement": self.champion}
        self.challengers = Challengers(self.fold, steps, self.load, self.metrics.of_stage)

    def load(self, model: str, challenger: Challenger) -> LoadedText:
        loaded = self.models.get(challenger.version)
        if loaded is None:
            return LoadedText(None, reason="it is not in the store")
        return LoadedText(cast(Any, loaded), ms_a_post=self._ms_a_post)

    def name(self, sha256: str | None, model: str = "spam", **more: Any) -> int:
        """Write a record of `models` and follow it until it is dealt with; return its offset."""
        value = json.dumps({"sha256": sha256, "answers": [0.5], **more}).encode()
        offset = self.fold.offset + 1
        key = f"shadow/{model}".encode()
        self.fold.apply(StoredRecord(offset, key=key, value=value if sha256 else b""))
        self.challengers.changed(model)
        until(lambda: self.settled(model, offset))
        return offset

    def settled(self, model: str, offset: int) -> bool:
        self.challengers.begin_loaded()
        return self.challengers.dealt_with(model, offset) == offset

    def running(self, model: Model, **more: Any) -> Model:
        """Have a model score in shadow."""
        self.models[model.version] = model
        self.name(A if model.version == A[:12] else B, **more)
        assert self.challengers.versions("spam") == {"spam": model.version}
        return model

    def cycle(self, *posts: tuple[str, str | None]) -> WorkBatch:
        """Have the worker's cycle bring posts, by id and text; without a text, deletions."""
        records = []
        for post_id, text in posts:
            post = None if text is None else Post(post_id, "author", NOW_MS, text)
            records.append(record(post_id, post, offset=self._offset))
            self._offset += 1
        batch = RecordBatch(POSTS, cast(Any, records))
        work = decode_work([batch], [], partitions=1, now_ms=7)
        self.challengers.score(work, self.writer)
        return work

    def written(self) -> list[Signal]:
        assert {topic for topic, *_ in self.writer.added} <= {"shadow"}
        return [
            decode_signal("spam", SignalNames(), key, value)
            for _, key, value, _ in self.writer.added
            if value is not None
        ]

    def refusals(self) -> list[tuple[str, int, str]]:
        return [(one.model, one.offset, one.reason) for one in self.fold.refused]

    def count(self, name: str) -> float:
        lines = [line for line in self.metrics.text().splitlines() if name in line]
        values = [float(line.rpartition(" ")[2]) for line in lines if 'stage="spam"' in line]
        return values[0] if values else 0.0


def test_live_posts_are_scored_beside_the_champion_and_nothing_else_is_told() -> None:
    worker = Worker()
    model = worker.running(Model(A[:12]))
    work = worker.cycle(("a", "0.25"), ("b", "0.5"), ("c", None), ("b", "0.75"))
    assert [(s.post_id, s.post_offset, s.value, s.version) for s in worker.written()] == [
        ("a", 0, 0.25, A[:12]),
        ("b", 3, 0.75, A[:12]),
    ]
    assert {s.at_ms for s in worker.written()} == {7}
    assert work.signals == []
    # The features that the champion's step computed are read again.
    assert model.batches == [work.posts]
    assert worker.count("feedmill_shadow_posts_total") == 2
    assert worker.count("feedmill_shadow_cpu_seconds_total") > 0


@pytest.mark.parametrize("text", ["nan", "1.5", "no number"])
def test_a_challenger_that_fails_is_stopped_with_its_reason(text: str) -> None:
    worker = Worker()
    worker.running(Model(A[:12]))
    worker.cycle(("a", "0.25"), ("b", text))
    assert worker.writer.added == []
    assert worker.challengers.versions("spam") == {}
    assert worker.challengers.begin_loaded() == {"spam"}
    ((model, offset, reason),) = worker.refusals()
    assert (model, offset) == ("shadow/spam", 0)
    assert reason.startswith("stopped: ValueError: ")
    worker.cycle(("c", "0.25"))
    assert worker.writer.added == []
    # Another one may score.
    worker.running(Model(B[:12]))
    worker.cycle(("d", "0.25"))
    assert [s.post_id for s in worker.written()] == ["d"]


def test_a_challenger_takes_its_share_of_a_core_and_what_it_leaves_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = {"s": 0.0}
    monkeypatch.setattr(time, "thread_time", lambda: cpu["s"])

    def work_hard() -> None:
        cpu["s"] += 0.004

    worker = Worker()
    worker.running(Model(A[:12], work_hard), core_share=1e-6)
    for n in range(50):
        worker.cycle((f"p{n}", "0.5"))
    assert len(worker.written()) == 1
    assert worker.count("feedmill_shadow_posts_total") == 1
    assert worker.count("feedmill_shadow_skipped_total") == 49
    assert worker.count("feedmill_shadow_cpu_seconds_total") == pytest.approx(0.004)


def test_of_a_large_batch_some_posts_are_drawn_by_a_hash() -> None:
    worker = Worker(ms_a_post=1.0)
    model = worker.running(Model(A[:12]))
    posts = [(f"p{n}", str(n / 100)) for n in range(100)]
    worker.cycle(*posts)
    signals = worker.written()
    assert len(signals) == len(model.batches[0]) == 20
    assert [s.value for s in signals] == pytest.approx([s.post_offset / 100 for s in signals])
    assert [s.post_offset for s in signals] == sorted(s.post_offset for s in signals)
    assert worker.count("feedmill_shadow_skipped_total") == 80
    worker.writer.added.clear()
    worker.cycle(*reversed(posts))
    assert {s.post_id for s in worker.written()} == {s.post_id for s in signals}


def test_a_challenger_that_is_released_meanwhile_scores_no_more() -> None:
    worker = Worker()
    worker.running(Model(A[:12]))
    worker.champion.models["spam"] = A[:12]
    worker.cycle(("a", "0.25"))
    assert worker.writer.added == []
    worker.champion.models["spam"] = "champion"
    worker.cycle(("a", "0.25"))
    assert len(worker.written()) == 1


def test_without_a_challenger_or_a_post_nothing_is_written() -> None:
    worker = Worker()
    worker.cycle(("a", "0.25"))
    worker.running(Model(A[:12]))
    worker.cycle()
    worker.cycle(("a", None))
    worker.name(None)
    assert worker.challengers.versions("spam") == {}
    worker.cycle(("a", "0.25"))
    assert (worker.writer.added, worker.refusals()) == ([], [])


def test_what_cannot_be_loaded_is_refused() -> None:
    worker = Worker()
    worker.name(A)
    worker.name(A, "engagement")
    reasons = worker.refusals()
    assert reasons[0] == ("shadow/spam", 0, "it is not in the store")
    assert reasons[1][:2] == ("shadow/engagement", 1)
    assert "no posts by their text" in reasons[1][2]


def test_of_two_that_are_named_in_a_row_the_last_one_scores() -> None:
    worker = Worker()
    worker.models = {A[:12]: Model(A[:12]), B[:12]: Model(B[:12])}
    for offset, sha256 in enumerate((A, B)):
        value = json.dumps({"sha256": sha256, "answers": [0.5]}).encode()
        worker.fold.apply(StoredRecord(offset, key=b"shadow/spam", value=value))
        worker.challengers.changed("spam")
    assert worker.challengers.dealt_with("spam", 1) < 1
    until(lambda: worker.settled("spam", 1))
    assert worker.challengers.versions("spam") == {"spam": B[:12]}


def test_a_challenger_is_tried_as_a_release_is_and_needs_its_topic() -> None:
    counts = {"shadow": 2, "posts": 2}
    offsets = SimpleNamespace(partition_count=lambda topic, _: counts[topic])
    connection: Any = SimpleNamespace(offsets=offsets)
    load = partial(load_challenger, connection, threading.Event(), None, "quality")
    sha256 = shipped_sha256("quality")
    answers = answers_of(load_model("quality", None))
    good = Challenger(sha256, answers)
    loaded = load(good)
    assert loaded.model is not None
    assert loaded.model.version == sha256[:12]
    assert 0 < loaded.ms_a_post < 1
    assert "where it was released" in load(Challenger(sha256, (0.123, *answers[1:]))).reason
    counts["shadow"] = 3
    assert load(good).reason == "the topic `shadow` has 3 partitions, `posts` has 2"
    del counts["shadow"]
    assert load(good).reason == "KeyError('shadow')"


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
