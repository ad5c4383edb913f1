"""A step whose model was altered in memory: what it writes, and how it gets a whole model again."""

from typing import Any, cast

import numpy as np
import pytest

from builders.altered_memory import check_all, constant
from builders.canary_worker import INSTALLED, A, CanaryWorker, Cluster, Model
from builders.engagement_step import Running, event, post, value_of
from builders.waiting import until
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.streams.releases.model_checks import StoppedModel


class Weighted(Model):
    """Says what its only weight is."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.weights = np.array([0.5])

    def score_batch(self, batch: PostBatch) -> Scores:
        return np.full(len(batch), self.weights[0])


def errors_of(worker: CanaryWorker) -> dict[str, str | None]:
    worker.commit()
    return {one.post_id: one.error for one in worker.cluster.signals}


def test_a_step_writes_errors_while_its_model_is_stopped(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    worker = CanaryWorker(cluster)
    checks, step = worker.releases.checks, worker.step
    step.swap(cast(Any, Weighted(INSTALLED)))
    check_all(checks)
    first = cluster.say(0)
    worker.cycle()
    assert errors_of(worker) == {first: None}
    step.loaded.weights[0] = 0.75
    cluster.away = True
    check_all(checks)
    second = cluster.say(1)
    worker.cycle()
    assert errors_of(worker)[second] == (
        "RuntimeError: altered in memory: the array `spam.weights`"
    )
    # All that it may have judged wrongly, and what has an error now, is scored again later.
    assert cluster.notes[0]["scored.spam"] == cluster.notes[1]["scored.spam"] == "-"
    assert "spam judges nothing" in worker.releases.ready_reason()
    assert not step.scores_again
    # A store that is away is asked once; that is no release that was refused.
    until(lambda: worker.releases.follow() or "cannot be loaded anew: the" in caplog.text)
    assert (worker.releases.refused, worker.releases.waiting) == ((), ())
    assert step.is_stopped


def test_the_canary_of_a_candidate_that_was_altered_ends(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    began = cluster.canary(A)
    until(worker.settled, every=0.001)
    check_all(worker.releases.checks)
    assert worker.step.canary is not None
    worker.step.canary.model = cast(Any, constant("spam"))
    check_all(worker.releases.checks)
    post_id = cluster.say(0)
    worker.cycle()
    worker.commit()
    assert cluster.judged() == {post_id: INSTALLED}
    (refused,) = worker.releases.refused
    assert (refused.model, refused.offset) == ("canary/spam", began)
    assert "stopped: RuntimeError: altered in memory: known answer" in refused.reason
    assert worker.releases.checks.ready_reason() == ""


def test_a_model_that_is_released_again_is_loaded_anew(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    cluster.release(A)
    until(worker.settled, every=0.001)
    checks, step = worker.releases.checks, worker.step
    check_all(checks)
    before = step.loaded

    def is_back() -> bool:
        worker.releases.follow()
        return step.loaded is not before and not step.is_stopped

    step.model = cast(Any, constant("spam"))
    check_all(checks)
    assert isinstance(step.model, StoppedModel)
    until(is_back, every=0.001)
    assert step.models == {"spam": A[:12]}
    # The second time only an operator has it loaded.
    before, step.model = step.loaded, cast(Any, constant("spam"))
    check_all(checks)
    until(worker.settled, every=0.001)
    assert isinstance(step.model, StoppedModel)
    cluster.release(A)
    until(is_back, every=0.001)
    check_all(checks)
    assert worker.releases.checks.ready_reason() == ""


def test_engagement_that_was_altered_writes_errors_and_counts_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    step = running.step
    running.apply([post("p", 0)], [event("p", "impression", 0)])
    step.stop_model(cast(Any, StoppedModel(step.loaded, "altered in memory: the array `x`")))
    written = running.apply([post("q", 1)], [event("p", "impression", 1)])
    for post_id in ("p", "q"):
        signal = value_of(written, post_id)
        assert signal["value"] is None
        assert signal["error"] == "RuntimeError: altered in memory: the array `x`"
    step.swap(step.loaded)
    written = running.apply([], [event("p", "like", 2)])
    assert value_of(written, "p")["value"] == 0.5
