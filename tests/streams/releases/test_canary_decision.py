"""What ends a canary, and that a decision which did not arrive is written again."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from builders.fake_log import KeptWriter
from builders.records import StoredRecord
from feedmill.events.instance import Instance, ModelDrift, RefusedRelease
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.releases.canaries import CanaryDecision, alarm_in
from feedmill.streams.releases.release_log import ReleaseFold, StartedCanary

A = "a" * 64


def beat(*refused: RefusedRelease, drift: tuple[ModelDrift, ...] = ()) -> Instance:
    return Instance(
        *("spam", "1", "here", 1, "build", -1, (), {"spam": "old"}, True, 0, 0),
        refused_releases=refused,
        drift=drift,
    )


class Owner:
    """The owner of all partitions, with a canary of spam that began at offset 0."""

    def __init__(self, note: str = "") -> None:
        self.fold = ReleaseFold(("spam",))
        fields = {"sha256": A, "answers": [0.5], "partitions": 1, "after_ms": 10_000}
        value = json.dumps({**fields, "by": "ann", "note": "steeper"}).encode()
        self.fold.take(StoredRecord(0, key=b"canary/spam", value=value))
        self.judges: int | None = 0
        self.sent: list[tuple[bytes, dict[str, Any]]] = []
        self.writer = KeptWriter()
        canaries: Any = SimpleNamespace(offset_of=lambda _: self.judges)
        self.decision = CanaryDecision(self.fold, canaries, ["spam"], self._send)
        notes = {0: {"canary.spam": note}} if note else {}
        self.decision.assigned(AssignmentChange(1, gained=(0, 1), notes=notes))

    def _send(self, key: bytes, value: bytes) -> None:
        self.sent.append((key, json.loads(value)))

    @property
    def current(self) -> StartedCanary:
        current = self.fold.canaries.current("spam")
        assert current is not None
        return current


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
    owner.fold.take(StoredRecord(1, key=b"spam", value=b""))
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
    now = Owner().current
    assert alarm_in(beat(RefusedRelease("canary/spam", 0, "r")), "spam", now) == "spam/1: r"
    for model, offset in (("spam", 0), ("canary/nsfw", 0), ("canary/spam", 7), ("shadow/spam", 0)):
        assert alarm_in(beat(RefusedRelease(model, offset, "r")), "spam", now) == ""

    def drift(model: str, version: str, state: Any) -> ModelDrift:
        return ModelDrift(model, version, "score", state, 9, 0.5, 0.1, "why")

    found = alarm_in(beat(drift=(drift("spam", A[:12], "drift"),)), "spam", now)
    assert found == "spam/1: drift: score: why"
    for one in (
        drift("nsfw", "", "drift"),
        drift("spam", A[:12], "stable"),
        drift("spam", "old", "drift"),
    ):
        assert alarm_in(beat(drift=(one,)), "spam", now) == ""
