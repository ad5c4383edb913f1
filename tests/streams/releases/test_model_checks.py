"""Models that were altered in memory are stopped, and no healthy one ever is."""

import logging
import random
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.altered_memory import bytes_of, check_all, constant, flip, flipped
from builders.hostile_texts import hostile_texts, ordinary_text
from builders.lists import post_list
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text import shape
from feedmill.filters.lists import PostList
from feedmill.models.text_model import Scores
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases.known_answers import values_of
from feedmill.streams.releases.loading import MODELS, load_model
from feedmill.streams.releases.model_checks import ModelChecks, StoppedModel
from feedmill.streams.worker.model_step import HoldsModel, ModelStep
from feedmill.streams.worker.step import WorkBatch, Writer

CYCLE_S = 0.010
POSTS = {TopicPartition("posts", 3): 17}


class Step(ModelStep):
    """A step with a model, and nothing else."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.swap(load_model(name, None))

    def swap(self, model: Any) -> None:
        self.model = self.loaded = model
        self.models = {self.name: model.version}

    def apply(self, work: WorkBatch, writer: Writer) -> None: ...


class Worker:
    """The shipped models in steps, a canary, a challenger and two lists, and a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.steps = {name: Step(name) for name in MODELS}
        self.beside: dict[str, Any] = {}
        self.lists: list[PostList] = [
            post_list("phrases", ["cheap shoes", "free money"]),
            post_list("domains", ["bad.example.com"], name="domains"),
        ]
        self.loaded_again: list[str] = []
        self.metrics = Metrics("worker", "one")
        self.checks = ModelChecks(
            lambda: cast("dict[str, HoldsModel]", {**self.steps, **self.beside}),
            lambda: self.lists,
            self.loaded_again.append,
            self.metrics.of_stage,
        )

    def begin_beside(self, key: str) -> None:
        """Have a version of its own judge in a canary, or in shadow."""
        model = load_model(key.partition("/")[2], None)
        self.beside[key] = SimpleNamespace(model=model, loaded=model)

    def judge(self, posts: Sequence[Post]) -> None:
        """Do what the loop does with a batch: whoever judges reads the same weights."""
        batch = PostBatch(posts)
        batch.interleaved = self.checks.interleaved
        for holder in (*self.steps.values(), *self.beside.values()):
            if not isinstance(holder.model, StoppedModel):
                values_of(holder.model, batch)

    def run(self, seconds: float, each_s: float = CYCLE_S) -> None:
        """Go round for so long."""
        end = self.now_s + seconds
        while self.now_s < end:
            self.now_s += each_s
            self.checks.work(lambda: POSTS)

    def stopped(self) -> set[str]:
        holders = {**self.steps, **self.beside}
        return {name for name, one in holders.items() if isinstance(one.model, StoppedModel)}

    def altered(self) -> dict[str, float]:
        """By stage whether a model is stopped, as `/metrics` says."""
        lines = self.metrics.text().splitlines()
        found = [line for line in lines if line.startswith("feedmill_altered_models{")]
        return {line.split('"')[3]: float(line.rpartition(" ")[2]) for line in found}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    found = Worker(monkeypatch)
    for key in ("canary/spam", "shadow/quality"):
        found.begin_beside(key)
    for _ in range(3):
        found.judge([Post(f"p{n}", "a", 1, text) for n, text in enumerate(TEXTS)])
    check_all(found.checks)
    assert found.stopped() == set()
    return found


TEXTS = [*hostile_texts(300).values(), ordinary_text(2_000)]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_swapped_for_a_constant_is_found_by_its_known_answers(
    worker: Worker, name: str
) -> None:
    step = worker.steps[name]
    step.model = constant(name)
    check_all(worker.checks)
    assert worker.stopped() == {name}
    with pytest.raises(RuntimeError, match=r"^altered in memory: known answer \d+ is 0.25, it was"):
        step.model.prior_batch(PostBatch([]))
    assert worker.checks.ready_reason().startswith(f"{name} judges nothing: altered in memory: ")
    assert worker.altered() == {**dict.fromkeys(MODELS, 0.0), name: 1.0}
    # It is whole again once another one is there.
    assert worker.loaded_again == [name]
    step.swap(load_model(name, None))
    check_all(worker.checks)
    assert (worker.stopped(), worker.checks.ready_reason()) == (set(), "")
    assert worker.altered() == dict.fromkeys(MODELS, 0.0)


@pytest.mark.parametrize("values", [np.zeros(3), np.array(0.5), np.full(12, np.nan)])
def test_answers_that_are_no_answers_are_others(worker: Worker, values: Scores) -> None:
    worker.steps["nsfw"].model = SimpleNamespace(score_batch=lambda _: values)
    check_all(worker.checks)
    assert worker.stopped() == {"nsfw"}


def test_an_array_of_a_model_stops_that_model_alone(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.run(70)
    weights = worker.steps["nsfw"].loaded.ngram_models[0].weights
    flip(weights, 12_345)
    caplog.set_level(logging.ERROR)
    worker.run(70)
    assert worker.stopped() == {"nsfw"}
    (line,) = caplog.messages
    version = worker.steps["nsfw"].loaded.version
    assert line.startswith(f"model nsfw@{version} is stopped, altered in memory: the array `nsfw.")
    # From when on what it said may be wrong.
    assert line.endswith(" UTC it may have judged posts wrongly: posts[3] from 17")
    worker.run(200)
    assert len(caplog.messages) == 1
    assert worker.loaded_again == ["nsfw"]


def test_a_candidate_and_a_challenger_are_stopped_as_if_they_raised(worker: Worker) -> None:
    flip(worker.beside["canary/spam"].loaded.weights, 3)
    flip(worker.beside["shadow/quality"].loaded.trees.leaf_values, 3)
    check_all(worker.checks)
    assert worker.stopped() == {"canary/spam", "shadow/quality"}
    # Nobody loads them anew: the canary ends, and the challenger.
    assert worker.loaded_again == []
    assert set(worker.altered().values()) == {0.0}


def test_a_promoted_candidate_keeps_its_checksums(worker: Worker) -> None:
    candidate = worker.beside.pop("canary/spam")
    flip(candidate.loaded.weights, 3)
    worker.steps["spam"].swap(candidate.loaded)
    check_all(worker.checks)
    assert worker.stopped() == {"spam"}


def test_a_table_that_all_models_read_stops_all_of_them_until_a_restart(worker: Worker) -> None:
    with flipped(shape._KINDS, 70):
        check_all(worker.checks)
        assert worker.stopped() == set(MODELS)
        assert worker.loaded_again == []
        # A model that is loaded anew reads the same table.
        worker.steps["spam"].swap(load_model("spam", None))
        check_all(worker.checks)
        assert "spam" in worker.stopped()


def test_a_list_stops_its_filter(worker: Worker) -> None:
    keys = worker.lists[0].phrases
    assert keys is not None
    flip(keys._bitmap, 9)
    check_all(worker.checks)
    assert (worker.stopped(), worker.loaded_again) == ({"spam"}, [])
    assert "list/bad@000000000000.phrases._bitmap" in worker.checks.ready_reason()


def test_interleaved_weights_stop_all_models_and_are_made_anew(worker: Worker) -> None:
    flip(worker.checks.interleaved.present.table, 1_000_001)
    check_all(worker.checks)
    assert worker.stopped() == set(MODELS)
    assert sorted(worker.loaded_again) == sorted(MODELS)
    for name, step in worker.steps.items():
        step.swap(load_model(name, None))
    for _ in range(3):
        worker.judge([Post("p", "a", 1, "tea")])
        check_all(worker.checks)
    assert worker.stopped() == set()
    assert worker.checks.interleaved.present.lanes


def test_code_that_was_altered_is_found_in_a_model_that_is_loaded_anew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = worker.steps["spam"]
    kind, score = type(step.loaded), type(step.loaded).score_batch

    def halved(model: Any, batch: PostBatch) -> Scores:
        return cast(Scores, score(model, batch) / (2 if model.name == "spam" else 1))

    monkeypatch.setattr(kind, "score_batch", halved)
    check_all(worker.checks)
    assert worker.stopped() == {"spam", "canary/spam"}
    step.swap(load_model("spam", None))
    check_all(worker.checks)
    assert "spam" in worker.stopped()


def test_whatever_is_altered_is_found_within_two_minutes(worker: Worker) -> None:
    draw = random.Random(5)
    pieces = [piece for one in worker.checks._checked.values() for piece in one.pieces]
    memories = {id(p._memory): p._memory for p in pieces if hasattr(p, "_memory")}
    for memory in draw.sample([*memories.values()], 12):
        worker.run(draw.uniform(0, 120), each_s=0.05)
        assert worker.stopped() == set()
        with flipped(memory, draw.randrange(8 * bytes_of(memory).size)):
            worker.run(120, each_s=0.05)
            assert worker.stopped() != set()
        for step in worker.steps.values():
            step.swap(step.loaded)
        for holder in worker.beside.values():
            holder.model = holder.loaded
        # The layout that was altered is another one by now.
        worker.judge([Post("p", "a", 1, "tea")])
        worker.judge([Post("p", "a", 1, "tea")])


def test_nothing_is_found_in_half_a_healthy_hour(worker: Worker) -> None:
    draw = random.Random(4)
    kinds = [*hostile_texts(400)]
    for minute in range(30):
        for _ in range(3):
            texts = hostile_texts(draw.randrange(1, 600), seed=draw.randrange(10**6))
            chosen = [texts[kind] for kind in draw.choices(kinds, k=draw.randrange(1, 20))]
            links = ("https://xn--bcher-kva.example/a",)
            worker.judge([Post("p", "a", minute, text, links=links) for text in chosen])
            worker.run(20, each_s=0.1)
        name = draw.choice(MODELS)
        if minute % 7 == 3:
            worker.steps[name].swap(load_model(name, None))
        if minute % 11 == 5:
            worker.beside.pop("canary/spam", None)
            worker.lists[0] = post_list("phrases", [f"cheap shoes {minute}"])
        if minute % 11 == 9:
            worker.begin_beside("canary/spam")
        assert (worker.stopped(), worker.checks.ready_reason()) == (set(), "")
    assert worker.loaded_again == []


def test_a_model_that_raises_is_left_to_its_signals(worker: Worker) -> None:
    class Raises:
        name, version = "spam", "0" * 12

        def score_batch(self, _: PostBatch) -> Scores:
            raise ZeroDivisionError

    worker.steps["spam"].swap(Raises())
    check_all(worker.checks)
    check_all(worker.checks)
    assert worker.stopped() == set()
