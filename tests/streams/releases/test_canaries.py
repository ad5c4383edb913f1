"""Candidates are loaded beside the loop, and judge as long as their canary is under way."""

import json
import threading
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from builders.records import StoredRecord
from builders.waiting import until
from feedmill.events.release import Canary
from feedmill.models.store import installed_version
from feedmill.streams.releases.canaries import Canaries
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import LoadedText, load_candidate, load_model, store_of
from feedmill.streams.releases.release_log import ReleaseFold

A, B = "a" * 64, "b" * 64


class Step:
    """A filter that remembers what it was told."""

    name = "spam"

    def __init__(self) -> None:
        self.told: list[tuple[str, Collection[int]]] = []
        self.failure = ""

    def begin_canary(self, model: Any, partitions: Collection[int]) -> None:
        self.told.append((model.version, partitions))

    def end_canary(self) -> None:
        self.told.append(("", ()))

    def canary_failure(self) -> str:
        return self.failure


class Worker:
    """A worker with spam and engagement, and the records of `models`."""

    def __init__(self) -> None:
        self.fold = ReleaseFold(("spam", "engagement"))
        self.step = Step()
        self.goes_on = threading.Event()
        self.goes_on.set()
        steps: Any = {"spam": self.step}
        self.canaries = Canaries(self.fold, steps, self.load)

    def load(self, _: str, canary: Canary) -> LoadedText:
        self.goes_on.wait(10)
        return LoadedText(cast(Any, SimpleNamespace(version=canary.version)))

    def write(self, sha256: str | None, key: str = "canary/spam", **more: Any) -> None:
        """Write a record of `models` and tell of it."""
        fields = {"sha256": sha256, "answers": [0.5], "partitions": 2, "after_ms": 1, **more}
        value = json.dumps(fields).encode() if sha256 else b""
        self.fold.take(StoredRecord(self.fold.offset + 1, key=key.encode(), value=value))
        self.canaries.changed(key.rpartition("/")[2])

    def settle(self) -> None:
        def settled() -> bool:
            self.canaries.follow()
            return self.canaries.is_settled()

        until(settled, 10)


def test_a_candidate_judges_from_its_record_to_the_end_of_its_canary() -> None:
    worker = Worker()
    worker.goes_on.clear()
    worker.write(A)
    assert not worker.canaries.is_settled()
    assert worker.canaries.dealt_with("spam", 0) == -1
    assert worker.canaries.offset_of("spam") is None
    worker.goes_on.set()
    worker.settle()
    assert worker.canaries.dealt_with("spam", 0) == 0
    assert worker.canaries.offset_of("spam") == 0
    worker.write(A, ends=0, reason="drift")
    assert worker.canaries.follow() == {"spam"}
    assert worker.step.told == [(A[:12], range(2)), ("", ())]
    (refusal,) = worker.fold.refused
    assert (refusal.model, refusal.offset, refusal.reason) == (
        "canary/spam",
        0,
        "went back: drift",
    )


def test_of_two_that_begin_in_a_row_the_last_one_judges() -> None:
    worker = Worker()
    worker.goes_on.clear()
    worker.write(A)
    worker.write(B)
    worker.goes_on.set()
    worker.settle()
    worker.settle()
    assert worker.step.told == [(B[:12], range(2))]


def test_one_that_has_ended_before_it_was_loaded_never_judges() -> None:
    worker = Worker()
    worker.goes_on.clear()
    worker.write(A)
    worker.write(None)
    worker.goes_on.set()
    worker.settle()
    assert (worker.step.told, list(worker.fold.refused)) == ([], [])


def test_a_candidate_that_failed_is_not_loaded_again() -> None:
    worker = Worker()
    worker.write(A)
    worker.settle()
    worker.step.failure = "it says nan"
    assert worker.canaries.stop_failed() == ["spam"]
    assert worker.canaries.stop_failed() == []
    worker.canaries.changed("spam")
    worker.settle()
    assert worker.step.told == [(A[:12], range(2)), ("", ())]
    assert [one.reason for one in worker.fold.refused] == ["stopped: it says nan"]


def test_the_same_version_with_the_same_answers_is_taken_as_it_is() -> None:
    worker = Worker()
    worker.write(A)
    worker.settle()
    for sha256, answers, is_taken in ((A, [0.5], True), (A, [0.6], False), (B, [0.5], False)):
        fold = ReleaseFold(("spam",))
        value = json.dumps({"sha256": sha256, "answers": answers}).encode()
        fold.take(StoredRecord(1, key=b"spam", value=value))
        taken = worker.canaries.released("spam", fold.latest("spam")[0].release)
        assert (taken is not None) is is_taken
    assert worker.canaries.released("spam", None) is None


def test_a_candidate_is_tried_as_a_release_is() -> None:
    sha256 = installed_version(store_of("quality", None), "quality")
    assert sha256 is not None
    answers = answers_of(load_model("quality", None))
    good = Canary(sha256, answers, partitions=1, after_ms=1)
    loaded = load_candidate(None, "quality", good)
    assert loaded.model is not None
    assert loaded.model.version == sha256[:12]
    bad = Canary(sha256, (0.123, *answers[1:]), partitions=1, after_ms=1)
    assert "where it was released" in load_candidate(None, "quality", bad).reason
