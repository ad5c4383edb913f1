"""Canaries in a worker whose cycles, commits and kills a test decides."""

import json

import pytest

from builders.canary_worker import COUNT, INSTALLED, MODELS, A, B, CanaryWorker, Cluster
from feedmill.events.instance import ModelDrift, RefusedRelease
from feedmill.streams.kafka.connection import RecordSender

V, W = A[:12], B[:12]


def say_everywhere(cluster: Cluster, count: int = 3, text: str = "tea") -> list[str]:
    return [cluster.say(p, text) for p in range(COUNT) for _ in range(count)]


def versions(cluster: Cluster) -> list[set[str]]:
    """By partition the versions of its posts."""
    found: list[set[str]] = [set() for _ in range(COUNT)]
    for post_id, version in cluster.judged().items():
        found[cluster.partition_of[post_id]].add(version)
    return found


def last_record(cluster: Cluster) -> tuple[bytes | None, dict[str, object]]:
    last = cluster.topics[MODELS][-1]
    return last.key, json.loads(last.value or b"{}")


def run(worker: CanaryWorker) -> None:
    worker.cycle()
    worker.commit()


def test_the_first_partitions_go_first_and_the_rest_after_the_time(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    say_everywhere(cluster)
    run(worker)
    offset = cluster.canary(A, after_ms=20_000, by="ann", note="steeper")
    say_everywhere(cluster)
    run(worker)
    assert versions(cluster) == [{INSTALLED, V}, {INSTALLED}]
    assert worker.releases.canaries.versions("spam") == {"spam": V}
    assert (cluster.note(0), cluster.note(1)) == (f"{V} 3", f"{INSTALLED} 3")
    for at_ms in (1_000_000, 1_010_000, 1_019_999):
        worker.beat(at_ms)
    assert len(cluster.topics[MODELS]) == 1
    worker.beat(1_020_000)
    key, value = last_record(cluster)
    assert (key, value["sha256"], value["canary"], value["by"]) == (b"spam", A, offset, "ann")
    assert value["note"] == "steeper; no alarm in its canary, partitions: 1"
    say_everywhere(cluster)
    run(worker)
    assert versions(cluster) == [{INSTALLED, V}, {INSTALLED, V}]
    # Its version went on, so the first partition's note is the one of the canary.
    assert (cluster.note(0), cluster.note(1)) == (f"{V} 3", f"{V} 6")
    assert worker.step.models == {"spam": V}
    assert worker.releases.canaries.versions("spam") == {}
    assert "canary.spam" not in {k for k, text in cluster.notes[0].items() if text}
    cluster.check()


@pytest.mark.parametrize("text", ["raise", "nan"])
def test_a_candidate_that_fails_judges_nothing_of_that_cycle(cluster: Cluster, text: str) -> None:
    worker = CanaryWorker(cluster)
    offset = cluster.canary(A)
    say_everywhere(cluster)
    run(worker)
    cluster.say(0, "before")
    cluster.say(0, text)
    cluster.say(1)
    worker.cycle()
    worker.commit()
    assert cluster.note(0) == f"{INSTALLED} 3"
    assert [one.error for one in cluster.signals] == [None] * 9
    (refusal,) = worker.releases.refused
    assert (refusal.model, refusal.offset) == ("canary/spam", offset)
    assert refusal.reason.startswith("stopped: ")
    worker.beat(1_000)
    key, value = last_record(cluster)
    assert (key, value["ends"]) == (b"canary/spam", offset)
    assert str(value["reason"]).startswith("spam/1: stopped: ")
    run(worker)
    assert len(worker.releases.refused) == 1
    cluster.check()


def test_a_candidate_that_another_worker_refuses_goes_back_here(cluster: Cluster) -> None:
    first, second = CanaryWorker(cluster, [0]), CanaryWorker(cluster, [1])
    cluster.canary(A)
    say_everywhere(cluster)
    run(first)
    cluster.unloadable.add(A)
    run(second)
    beat = second.instance(instance="2")
    assert [one.reason for one in beat.refused_releases] == ["it is not in the store"]
    # Whoever has not the first partition decides nothing.
    second.releases.heartbeat(beat, 1_000)
    assert len(cluster.topics[MODELS]) == 1
    first.releases.heartbeat(beat, 1_000)
    say_everywhere(cluster)
    run(first)
    run(second)
    assert versions(cluster) == [{V, INSTALLED}, {INSTALLED}]
    assert cluster.note(0) == f"{INSTALLED} 3"
    (refusal,) = first.releases.refused
    assert refusal.reason == "went back: spam/2: it is not in the store"
    cluster.check()


@pytest.mark.parametrize(
    ("version", "ends"), [(V, True), ("", True), (INSTALLED, False), ("x", False)]
)
def test_drift_ends_a_canary_but_not_that_of_the_version_in_force(
    cluster: Cluster, version: str, *, ends: bool
) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A)
    run(worker)
    drift = ModelDrift("spam", version, "fallback", "drift", 9, 0.5, 0.1, "much")
    worker.beat(1_000, stage="watch", drift=(drift,), refused_releases=())
    assert (len(cluster.topics[MODELS]) == 2) is ends
    if ends:
        assert last_record(cluster)[1]["reason"] == "watch/1: drift: fallback: much"


def test_only_time_in_which_the_candidate_judged_counts(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    worker.beat(1_000_000)
    cluster.canary(A, after_ms=20_000)
    run(worker)
    # All workers were down for an hour; so much of it counts as between two heartbeats.
    for at_ms in (2_000_000, 5_600_000, 5_604_999):
        worker.beat(at_ms)
    assert len(cluster.topics[MODELS]) == 1
    # An old stamp changes nothing.
    worker.beat(3_000_000)
    worker.beat(5_605_000)
    assert len(cluster.topics[MODELS]) == 2


@pytest.mark.parametrize("commits", [False, True])
def test_after_a_kill_the_same_version_judges_and_the_time_goes_on(
    cluster: Cluster, *, commits: bool
) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A, after_ms=20_000)
    say_everywhere(cluster)
    worker.cycle(most=2)
    worker.commit()
    worker.beat(1_000_000)
    worker.beat(1_012_000)
    worker.cycle(most=2)
    uncommitted = [value for _, _, value, _ in worker.writer.added]
    if commits:
        worker.commit()
    # kill -9
    again = CanaryWorker(cluster)
    again.cycle()
    if not commits:
        assert [value for _, _, value, _ in again.writer.added] == uncommitted
    again.commit()
    assert versions(cluster) == [{V}, {INSTALLED}]
    assert (cluster.note(0), cluster.note(1)) == (f"{V} 0", f"{INSTALLED} 0")
    again.beat(2_000_000)
    again.beat(2_008_000)
    assert (len(cluster.topics[MODELS]) == 2) is commits
    cluster.check()


def test_who_comes_when_an_alarm_has_ended_it_judges_by_the_version_in_force(
    cluster: Cluster,
) -> None:
    worker = CanaryWorker(cluster)
    offset = cluster.canary(A)
    say_everywhere(cluster)
    run(worker)
    cluster.say(0)
    worker.cycle()
    value = {"sha256": A, "answers": [0.5], "partitions": 1, "after_ms": 1}
    end = json.dumps({**value, "ends": offset, "reason": "drift"}).encode()
    cluster.write(b"canary/spam", end)
    again = CanaryWorker(cluster)
    run(again)
    assert cluster.note(0) == f"{INSTALLED} 3"
    assert versions(cluster)[0] == {V, INSTALLED}
    assert [one.reason for one in again.releases.refused] == ["went back: drift"]
    # The posts of the canary are not all judged by one version.
    assert cluster.notes[0]["scored.spam"] == "-"
    assert "scored.spam" not in cluster.notes[1]
    cluster.check()


@pytest.mark.parametrize("sha256", [B, None])
def test_a_release_or_rollback_ends_a_canary(cluster: Cluster, sha256: str | None) -> None:
    worker = CanaryWorker(cluster)
    offset = cluster.canary(A)
    say_everywhere(cluster)
    run(worker)
    cluster.release(sha256)
    say_everywhere(cluster)
    run(worker)
    now = W if sha256 else INSTALLED
    assert versions(cluster) == [{V, now}, {INSTALLED, now}]
    # The decision of somebody who did not know it comes too late.
    cluster.release(A, canary=offset)
    say_everywhere(cluster)
    run(worker)
    assert worker.step.models == {"spam": now}
    assert [one.model for one in worker.releases.refused] == ["spam"]
    cluster.check()


def test_a_partition_that_moves_takes_its_canary_and_the_decision_along(cluster: Cluster) -> None:
    first, second = CanaryWorker(cluster, [0]), CanaryWorker(cluster, [1])
    cluster.canary(A, after_ms=20_000)
    say_everywhere(cluster)
    run(first)
    run(second)
    first.beat(1_000_000)
    first.beat(1_010_000)
    run(first)
    first.assign([])
    second.assign([0, 1])
    # `models` is read to its end once more before it goes on.
    assert not second.releases.lists_complete()
    first.beat(1_020_000)
    assert len(cluster.topics[MODELS]) == 1
    say_everywhere(cluster)
    run(second)
    assert versions(cluster) == [{V}, {INSTALLED}]
    second.beat(1_020_000)
    second.beat(1_030_000)
    assert len(cluster.topics[MODELS]) == 2
    cluster.check()


def test_another_canary_takes_the_place_of_the_first(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A)
    say_everywhere(cluster)
    run(worker)
    cluster.canary(B, partitions=2)
    say_everywhere(cluster)
    run(worker)
    assert versions(cluster) == [{V, W}, {INSTALLED, W}]
    assert worker.releases.refused == ()
    cluster.check()


@pytest.mark.parametrize(("sha256", "answers", "tries"), [(A, 0.5, 0), (A, 0.6, 1), (B, 0.5, 1)])
def test_a_release_of_what_judges_in_a_canary_with_the_same_answers_is_not_loaded_again(
    cluster: Cluster, sha256: str, answers: float, tries: int
) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A)
    run(worker)
    before = cluster.tries
    cluster.release(sha256, answers=[answers])
    run(worker)
    assert cluster.tries - before == tries


def test_a_decision_that_does_not_appear_is_written_again(cluster: Cluster) -> None:
    sent: list[bytes] = []
    cluster.patch.setattr(RecordSender, "send", lambda _, key, value: sent.append(key))
    worker = CanaryWorker(cluster)
    refusal = RefusedRelease("canary/spam", cluster.canary(A), "missing")
    run(worker)
    for at_ms in (1_000, 2_000, 15_999, 16_000, 17_000):
        worker.beat(at_ms, refused_releases=(refusal,))
    assert sent == [b"canary/spam"] * 2
    cluster.release(None)
    run(worker)
    worker.beat(99_000, refused_releases=(refusal,))
    assert len(sent) == 2


def test_time_without_the_candidate_does_not_count(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A, after_ms=10_000)
    run(worker)
    worker.beat(1_000)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(worker.releases.canaries, "offset_of", lambda _: None)
        worker.beat(10_999)
    for at_ms in (12_000, 21_999):
        worker.beat(at_ms)
    assert len(cluster.topics[MODELS]) == 1
    worker.beat(22_000)
    assert len(cluster.topics[MODELS]) == 2
