"""What a model says of the sample posts, and what becomes of one that answers otherwise."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.canary_worker import INSTALLED, A, CanaryWorker, Cluster, Model
from builders.engagement_step import Running, event, post, value_of
from builders.hostile_texts import hostile_texts
from builders.model_store import add_version, shipped_store
from builders.waiting import until
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.interleaved_weights import InterleavedWeights
from feedmill.models.text_model import Scores
from feedmill.streams.releases.known_answers import (
    SAMPLE_POSTS,
    KnownAnswers,
    answers_of,
    check_answers,
    values_by_text,
)
from feedmill.streams.releases.loading import MODELS, load_model
from feedmill.streams.worker.step import HoldsModel, ModelStep, WorkBatch, Writer


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_agrees_with_itself_and_with_no_changed_answer(name: str) -> None:
    model = load_model(name, None)
    answers = answers_of(model)
    assert len(answers) == len(SAMPLE_POSTS) * (2 if name == "engagement" else 1)
    assert len(set(answers)) > len(SAMPLE_POSTS) // 2
    check_answers(model, answers)
    check_answers(model, [one + 9e-7 for one in answers])
    with pytest.raises(BadArtifact, match="of sample 3, where it was released"):
        check_answers(model, [one + 2e-6 * (n == 3) for n, one in enumerate(answers)])
    with pytest.raises(BadArtifact, match="known answers, this build gives"):
        check_answers(model, answers[1:])


def test_another_version_answers_otherwise(tmp_path: Path) -> None:
    store = shipped_store(tmp_path / "store")
    before = answers_of(load_model("spam", store))
    after = answers_of(load_model("spam", store, add_version(store, "spam")))
    assert np.abs(np.subtract(before, after)).max() > 1e-3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (RuntimeError("out of ideas"), "RuntimeError: out of ideas"),
        *((value, r"expected a number in \[0, 1\]") for value in (float("nan"), -0.1, 1.5)),
    ],
)
def test_a_model_that_raises_or_says_what_is_no_probability_is_refused(
    value: float | Exception, reason: str
) -> None:
    def score_batch(posts: PostBatch) -> np.ndarray:
        if isinstance(value, Exception):
            raise value
        return np.full(len(posts), value)

    model: Any = SimpleNamespace(name="spam", version="0" * 12, score_batch=score_batch)
    with pytest.raises(BadArtifact, match=reason):
        answers_of(model)


class Step(ModelStep):
    """A step with a shipped model, and nothing else."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.swap(load_model(name, None))

    def swap(self, model: Any) -> None:
        self.model = model

    def apply(self, work: WorkBatch, writer: Writer) -> None: ...


class Worker:
    """The shipped models in steps, and how long their answers were watched."""

    def __init__(self) -> None:
        self.steps = {name: Step(name) for name in MODELS}
        self.interleaved = InterleavedWeights()
        self.now_s = 0.0
        holders: dict[str, HoldsModel] = {**self.steps}
        self.known_answers = KnownAnswers(holders.values, self.interleaved)
        for _ in range(3):
            self.judge(["A walk along the river"])
        assert self.interleaved.present.lanes
        self.watch(10.0)

    def judge(self, texts: list[str]) -> None:
        """Do what the loop does with a batch: all models read the same weights."""
        batch = PostBatch([Post(f"p{n}", "a", 1, text) for n, text in enumerate(texts)])
        batch.interleaved = self.interleaved
        for step in self.steps.values():
            if not step.is_stopped:
                values_by_text(step.model, batch)

    def watch(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            self.now_s += 0.1
            self.known_answers.ask(self.now_s)

    def stopped(self) -> set[str]:
        return {name for name, step in self.steps.items() if step.is_stopped}


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_replaced_by_a_constant_is_stopped_alone(worker: Worker, name: str) -> None:
    step = worker.steps[name]

    def quarter(posts: PostBatch) -> Scores:
        return np.full(len(posts), 0.25)

    calls: dict[str, Any] = {"score_batch": quarter}
    if name == "engagement":
        calls = {"prior_batch": quarter, "score_many": lambda priors, _: priors}
    step.model = SimpleNamespace(name=name, version=step.model.version, **calls)
    worker.watch(10)
    assert worker.stopped() == {name}
    with pytest.raises(RuntimeError, match=r"^altered in memory: known answer \d+ is 0.25, it was"):
        step.model.prior_batch(PostBatch([]))
    # The same version is whole again once it is loaded anew.
    step.swap(load_model(name, None))
    worker.watch(10)
    assert worker.stopped() == set()


def test_code_that_changed_is_found_in_a_model_that_is_loaded_anew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = worker.steps["spam"]
    kind, score = type(step.model), type(step.model).score_batch

    def halved(model: Any, batch: PostBatch) -> Scores:
        return cast(Scores, score(model, batch) / (2 if model.name == "spam" else 1))

    monkeypatch.setattr(kind, "score_batch", halved)
    step.swap(load_model("spam", None))
    worker.watch(10)
    assert worker.stopped() == {"spam"}
    monkeypatch.undo()
    step.swap(load_model("spam", None))


def test_the_weights_are_asked_by_which_the_loop_reads_its_batches() -> None:
    worker = Worker()
    worker.interleaved.present.table[:] = np.zeros((), dtype="V16")
    worker.watch(62)
    assert "spam" in worker.stopped()


def test_no_healthy_model_is_stopped_whatever_it_judges(worker: Worker) -> None:
    for minute in range(5):
        worker.judge([*hostile_texts(400, seed=minute).values()])
        worker.watch(60)
        worker.steps["nsfw"].swap(load_model("nsfw", None))
        assert worker.stopped() == set()


@pytest.mark.parametrize("values", [ZeroDivisionError(), np.full(9, np.nan), 0.5])
def test_a_model_that_gives_no_answers_is_left_to_its_signals(worker: Worker, values: Any) -> None:
    def score_batch(_: PostBatch) -> Any:
        if isinstance(values, Exception):
            raise values
        return values

    step = worker.steps["spam"]
    before = step.model
    for _ in range(2):
        step.swap(SimpleNamespace(name="spam", version=before.version, score_batch=score_batch))
        worker.watch(3)
    assert worker.stopped() == set()
    step.swap(before)


class Weighted(Model):
    """Says what its only weight is."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.weight = 0.5

    def score_batch(self, batch: PostBatch) -> Scores:
        return np.full(len(batch), self.weight)


def ask_all(worker: CanaryWorker, now_s: float) -> None:
    """Ask all models of a worker once."""
    for second in range(5):
        worker.releases.known_answers.ask(now_s + second)


def test_a_step_writes_errors_while_its_model_is_stopped(cluster: Cluster) -> None:
    worker, model = CanaryWorker(cluster), Weighted(INSTALLED)
    worker.step.swap(cast(Any, model))
    ask_all(worker, 0)
    first = cluster.say(0)
    worker.cycle()
    model.weight = 0.75
    ask_all(worker, 100)
    second = cluster.say(1)
    worker.cycle()
    worker.commit()
    assert {one.post_id: one.error for one in cluster.signals} == {
        first: None,
        second: "RuntimeError: altered in memory: known answer 0 is 0.75, it was 0.5",
    }
    # All that it may have judged wrongly, and what has an error now, is scored again later.
    assert cluster.notes[0]["scored.spam"] == cluster.notes[1]["scored.spam"] == "-"
    assert not worker.step.scores_again
    assert worker.releases.ready_reason() == (
        "spam judges nothing: altered in memory: known answer 0 is 0.75, it was 0.5;"
        " restart the worker"
    )
    cluster.release(A)
    until(worker.settled, every=0.001)
    assert worker.step.models == {"spam": A[:12]}
    assert worker.releases.ready_reason() == ""


def test_a_stopped_version_that_is_released_again_is_loaded_anew(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    cluster.release(A)
    until(worker.settled, every=0.001)
    worker.step.stop_model("altered in memory: known answer 0 is 1, it was 0")
    cluster.release(A)
    until(worker.settled, every=0.001)
    assert (worker.step.is_stopped, worker.step.models) == (False, {"spam": A[:12]})


def test_the_canary_of_a_candidate_that_answers_otherwise_ends(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    began = cluster.canary(A)
    until(worker.settled, every=0.001)
    ask_all(worker, 0)
    assert worker.step.candidate is not None
    changed = Weighted(A[:12])
    changed.weight = 0.25
    worker.step.candidate.model = cast(Any, changed)
    ask_all(worker, 100)
    post_id = cluster.say(0)
    worker.cycle()
    worker.commit()
    assert cluster.judged() == {post_id: INSTALLED}
    (refused,) = worker.releases.refused
    assert (refused.model, refused.offset) == ("candidate/spam", began)
    assert "stopped: altered in memory: known answer 0 is 0.25, it was 0.5" in refused.reason
    assert worker.releases.ready_reason() == ""


def test_engagement_that_is_stopped_writes_errors_and_counts_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    step = running.step
    running.apply([post("p", 0)], [event("p", "impression", 0)])
    whole = step.model
    step.stop_model("altered in memory: known answer 0 is 1, it was 0")
    written = running.apply([post("q", 1)], [event("p", "impression", 1)])
    for post_id in ("p", "q"):
        signal = value_of(written, post_id)
        assert signal["value"] is None
        assert signal["error"] == "RuntimeError: altered in memory: known answer 0 is 1, it was 0"
    step.swap(whole)
    written = running.apply([], [event("p", "like", 2)])
    assert value_of(written, "p")["value"] == 0.5
