"""Candidates judge as long as their canary is under way; what ends one, and who says so."""

import json
import threading
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.events import heartbeat
from builders.fake_log import KeptWriter
from builders.records import StoredRecord
from builders.waiting import until
from feedmill.events.instance import Instance, ModelDrift, RefusedRelease
from feedmill.events.release import Canary
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.releases.candidates import Canaries, CanaryDecision, alarm_in
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import LoadedText, load_candidate, load_model, shipped_sha256
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
        self.fold.apply(StoredRecord(self.fold.offset + 1, key=key.encode(), value=value))
        self.canaries.changed(key.rpartition("/")[2])

    def settle(self) -> None:
        def settled() -> bool:
            self.canaries.begin_loaded()
            return self.canaries.is_settled()

        until(settled, 10)


@pytest.mark.parametrize(("then", "told"), [(B, [(B[:12], range(2))]), (None, [])])
def test_what_began_or_ended_before_it_was_loaded_counts(then: str | None, told: list[Any]) -> None:
    worker = Worker()
    worker.goes_on.clear()
    worker.write(A)
    worker.write(then)
    worker.goes_on.set()
    worker.settle()
    worker.settle()
    assert (worker.step.told, list(worker.fold.refused)) == (told, [])


def test_the_same_version_with_the_same_answers_is_taken_as_it_is() -> None:
    worker = Worker()
    worker.write(A)
    worker.settle()
    for sha256, answers, is_taken in ((A, [0.5], True), (A, [0.6], False), (B, [0.5], False)):
        fold = ReleaseFold(("spam",))
        value = json.dumps({"sha256": sha256, "answers": answers}).encode()
        fold.apply(StoredRecord(1, key=b"spam", value=value))
        taken = worker.canaries.released("spam", fold.latest("spam")[0].release)
        assert (taken is not None) is is_taken
    assert worker.canaries.released("spam", None) is None


def test_a_candidate_is_tried_as_a_release_is() -> None:
    sha256 = shipped_sha256("quality")
    answers = answers_of(load_model("quality", None))
    good = Canary(sha256, answers, partitions=1, after_ms=1)
    loaded = load_candidate(None, "quality", good)
    assert loaded.model is not None
    assert loaded.model.version == sha256[:12]
    bad = Canary(sha256, (0.123, *answers[1:]), partitions=1, after_ms=1)
    assert "where it was released" in load_candidate(None, "quality", bad).reason


def beat(*refused: RefusedRelease, drift: tuple[ModelDrift, ...] = ()) -> Instance:
    return heartbeat(models={"spam": "old"}, refused_releases=refused, drift=drift)


class Owner:
    """The owner of all partitions, with a canary of spam that began at offset 0."""

    def __init__(self, note: str = "") -> None:
        self.fold = ReleaseFold(("spam",))
        fields = {"sha256": A, "answers": [0.5], "partitions": 1, "after_ms": 10_000}
        value = json.dumps({**fields, "by": "ann", "note": "steeper"}).encode()
        self.fold.apply(StoredRecord(0, key=b"canary/spam", value=value))
        self.judges: int | None = 0
        self.sent: list[tuple[bytes, dict[str, Any]]] = []
        self.writer = KeptWriter()
        canaries: Any = SimpleNamespace(offset_of=lambda _: self.judges)
        self.decision = CanaryDecision(self.fold, canaries, ["spam"], self._send)
        notes = {TopicPartition("posts", 0): {"canary.spam": note}} if note else {}
        self.decision.assigned(AssignmentChange(1, gained=(0, 1), notes=notes))

    def _send(self, key: bytes, value: bytes) -> None:
        self.sent.append((key, json.loads(value)))


def test_a_promotion_says_who_began_the_canary_and_why() -> None:
    owner = Owner()
    for at_ms in (5_000, 10_000, 14_999):
        owner.decision.heartbeat(beat(), at_ms)
    assert owner.sent == []
    owner.decision.heartbeat(beat(), 15_000)
    ((key, value),) = owner.sent
    assert (key, value["sha256"], value["canary"], value["by"]) == (b"spam", A, 0, "ann")
    assert value["note"] == "steeper; no alarm in its canary, partitions: 1"


def test_a_decision_that_does_not_appear_is_written_again() -> None:
    owner = Owner()
    refusal = RefusedRelease("canary/spam", 0, "missing")
    for at_ms in (1_000, 2_000, 15_999, 16_000, 17_000):
        owner.decision.heartbeat(beat(refusal), at_ms)
    assert [key for key, _ in owner.sent] == [b"canary/spam"] * 2
    owner.fold.apply(StoredRecord(1, key=b"spam", value=b""))
    owner.decision.heartbeat(beat(refusal), 99_000)
    assert len(owner.sent) == 2


@pytest.mark.parametrize("judges", [None, 7])
def test_time_without_the_candidate_does_not_count(judges: int | None) -> None:
    owner = Owner()
    owner.decision.heartbeat(beat(), 1_000)
    owner.judges = judges
    owner.decision.heartbeat(beat(), 10_999)
    owner.judges = 0
    owner.decision.heartbeat(beat(), 12_000)
    owner.decision.heartbeat(beat(), 21_999)
    assert owner.sent == []
    owner.decision.heartbeat(beat(), 22_000)
    assert len(owner.sent) == 1


def test_the_note_of_another_canary_does_not_count() -> None:
    owner = Owner("7 9999")
    owner.decision.heartbeat(beat(), 1_000)
    owner.decision.heartbeat(beat(), 10_999)
    assert owner.sent == []


def test_an_alarm_is_about_this_canary() -> None:
    now = Owner().fold.canaries.current("spam")
    assert now is not None
    assert alarm_in(beat(RefusedRelease("canary/spam", 0, "r")), "spam", now) == "spam/1: r"
    for model, offset in (("spam", 0), ("canary/nsfw", 0), ("canary/spam", 7), ("shadow/spam", 0)):
        assert alarm_in(beat(RefusedRelease(model, offset, "r")), "spam", now) == ""
    for model, version, state in (("nsfw", "", "drift"), ("spam", A[:12], "stable")):
        drift = ModelDrift(model, version, "score", cast(Any, state), 9, 0.5, 0.1, "why")
        assert alarm_in(beat(drift=(drift,)), "spam", now) == ""
