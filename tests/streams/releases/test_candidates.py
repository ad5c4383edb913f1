"""Candidates in a worker whose cycles, commits and kills a test decides; how they end."""

import json
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from builders.canary_worker import COUNT, INSTALLED, MODELS, A, B, CanaryWorker, Cluster
from builders.waiting import until
from feedmill.events.errors import BadArtifact, StoreAway
from feedmill.events.instance import ComparedPosts, ModelDrift, RefusedRelease, RunningCandidate
from feedmill.events.release import Candidate
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import RecordSender
from feedmill.streams.releases import model_releases, newest_releases
from feedmill.streams.releases.candidates import TriedModel, load_candidate, outcome
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import load_model, shipped_sha256
from feedmill.streams.releases.release_log import StartedCandidate
from feedmill.streams.scoring.candidate_scoring import Gate

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


def test_the_first_partitions_go_first_and_the_rest_once_it_is_surely_within_its_limits(
    cluster: Cluster,
) -> None:
    worker = CanaryWorker(cluster)
    say_everywhere(cluster)
    run(worker)
    offset = cluster.canary(A, by="ann", note="steeper")
    say_everywhere(cluster)
    run(worker)
    assert versions(cluster) == [{INSTALLED, V}, {INSTALLED}]
    assert worker.releases.candidates.running.keys() == {"spam"}
    assert (cluster.note(0), cluster.note(1)) == (f"{V} 3", f"{INSTALLED} 3")
    worker.beat(1_000)
    assert len(cluster.topics[MODELS]) == 1
    say_everywhere(cluster, 1000)
    while worker.positions()[TopicPartition("posts", 0)] < 1006:
        run(worker)
    assert cluster.notes[0]["candidate.spam"] == "0 3 1003 0 0 0 0"
    worker.beat(2_000)
    key, value = last_record(cluster)
    assert (key, value["sha256"], value["candidate"], value["by"]) == (b"spam", A, offset, "ann")
    assert value["note"] == (
        "steeper; of 1,003 posts that both versions judged it hides 0.0% more and demotes or hides"
        " 0.0% more: surely below its limits"
    )
    say_everywhere(cluster)
    run(worker)
    assert versions(cluster) == [{INSTALLED, V}, {INSTALLED, V}]
    # Its version went on, so the first partition's note is the one of the candidate.
    assert (cluster.note(0), cluster.note(1)) == (f"{V} 3", f"{V} 1006")
    assert worker.step.models == {"spam": V}
    assert worker.releases.candidates.running == {}
    assert "candidate.spam" not in {k for k, text in cluster.notes[0].items() if text}
    cluster.check()


@pytest.mark.parametrize("partitions", [0, 1])
def test_what_hides_too_much_goes_back_and_stays_back(cluster: Cluster, partitions: int) -> None:
    worker = CanaryWorker(cluster)
    worker.step.gate = Gate(0.9, 0.6)
    offset = cluster.canary(A, partitions)
    for _ in range(4):
        say_everywhere(cluster, 24)
        cluster.say(0, "spam")
        run(worker)
    worker.beat(1_000)
    assert len(cluster.topics[MODELS]) == 1
    for _ in range(30):
        say_everywhere(cluster, 9)
        cluster.say(0, "spam")
        run(worker)
    worker.beat(2_000)
    key, value = last_record(cluster)
    assert (key, value["ends"]) == (b"candidate/spam", offset)
    assert "it is sure to hide more than 1.0% beyond" in str(value["reason"])
    for again in (worker, CanaryWorker(cluster)):
        say_everywhere(cluster)
        run(again)
        assert again.releases.candidates.running == {}
        assert again.step.models == {"spam": INSTALLED}
        again.beat(3_000)
    assert len(cluster.topics[MODELS]) == 2


@pytest.mark.parametrize(
    ("fields", "model", "counts", "at_ms", "is_within"),
    [
        ({}, "spam", ComparedPosts(), 9, None),
        ({"promotes": True, "until_ms": 9}, "spam", ComparedPosts(100), 8, None),
        ({"promotes": True, "until_ms": 9}, "spam", ComparedPosts(100), 9, False),
        ({"promotes": True, "until_ms": 9}, "spam", ComparedPosts(1000), 8, True),
        # In shadow nobody is exposed; what judges posts goes back though nobody wants it released.
        ({}, "spam", ComparedPosts(1000, 500, 0, 500, 0), 9, None),
        ({"partitions": 1}, "spam", ComparedPosts(1000, 500, 0, 500, 0), 9, False),
        ({"partitions": 1}, "spam", ComparedPosts(1000), 9, None),
        # Quality has no gate.
        ({"promotes": True, "until_ms": 9}, "quality", ComparedPosts(1000), 8, None),
        ({"promotes": True, "until_ms": 9}, "quality", ComparedPosts(1000), 9, True),
        ({"partitions": 1, "until_ms": 9}, "quality", ComparedPosts(1000), 9, False),
    ],
)
def test_when_a_candidate_ends(
    fields: dict[str, Any], model: str, counts: ComparedPosts, at_ms: int, is_within: bool | None
) -> None:
    now = StartedCandidate(3, Candidate(A, (0.5,), **fields))
    found = outcome(model, now, counts, "", at_ms)
    assert found.is_within is is_within
    assert f"{counts.posts:,} posts" in found.reason
    assert outcome(model, now, counts, "alarm", at_ms) == (False, "alarm")


def test_of_two_owners_of_a_partition_the_counts_of_more_posts_count(cluster: Cluster) -> None:
    worker = CanaryWorker(cluster)
    offset = cluster.canary(A)
    run(worker)

    def said(counts: ComparedPosts, at: int = offset, partition: int = 0) -> None:
        running = RunningCandidate(V, at, {partition: counts})
        worker.beat(1_000, candidates={"spam": running})

    for posts in (300, 500, 400):
        said(ComparedPosts(posts))
    # Of an earlier candidate, of a partition that it does not judge, and more than all.
    said(ComparedPosts(5000), offset + 9)
    said(ComparedPosts(5000), partition=1)
    said(ComparedPosts(5000, 6000))
    assert len(cluster.topics[MODELS]) == 1
    said(ComparedPosts(999))
    assert last_record(cluster)[1]["candidate"] == offset
    assert "of 999 posts" in str(last_record(cluster)[1]["note"])


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
    assert (refusal.model, refusal.offset) == ("candidate/spam", offset)
    assert refusal.reason.startswith("stopped: ")
    worker.beat(1_000)
    key, value = last_record(cluster)
    assert (key, value["ends"]) == (b"candidate/spam", offset)
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
    assert last_record(cluster)[1]["reason"] == "spam/2: it is not in the store"
    assert first.releases.refused == ()
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


@pytest.mark.parametrize("commits", [False, True])
def test_after_a_kill_the_same_version_judges_and_the_counts_go_on(
    cluster: Cluster, *, commits: bool
) -> None:
    worker = CanaryWorker(cluster)
    cluster.canary(A)
    say_everywhere(cluster)
    worker.cycle(most=2)
    worker.commit()
    assert cluster.notes[0]["candidate.spam"] == "0 0 2 0 0 0 0"
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
    assert cluster.notes[0]["candidate.spam"] == "0 0 3 0 0 0 0"
    assert again.instance().candidates["spam"].compared == {0: ComparedPosts(3)}
    cluster.check()


def test_while_the_store_is_away_the_counts_stay_and_afterwards_go_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_releases, "_PAUSE_S", 0.01)
    is_away = [False]

    def load(*given: Any) -> TriedModel:
        if is_away[0]:
            raise StoreAway("the server is not reachable")
        return cluster.load_candidate(*given)

    monkeypatch.setattr(model_releases, "load_candidate", load)
    worker = CanaryWorker(cluster)
    offset = cluster.canary(A)
    say_everywhere(cluster)
    run(worker)
    is_away[0] = True
    again = CanaryWorker(cluster, starts=False)
    until(lambda: bool(again.releases.follow() or again.releases.waiting), every=0.001)
    assert [one.model for one in again.releases.waiting] == ["candidate/spam"]
    say_everywhere(cluster)
    with monkeypatch.context() as meanwhile:
        # No post waits: those of now are judged by the version in force.
        meanwhile.setattr(again, "settled", lambda: True)
        run(again)
    assert versions(cluster) == [{V, INSTALLED}, {INSTALLED}]
    assert cluster.notes[0]["candidate.spam"] == f"{offset} 0 3 0 0 0 0"
    is_away[0] = False
    say_everywhere(cluster)
    run(again)
    assert cluster.notes[0]["candidate.spam"] == f"{offset} 0 6 0 0 0 0"
    assert len(cluster.topics[MODELS]) == 1
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
    value = {"sha256": A, "answers": [0.5], "partitions": 1}
    end = json.dumps({**value, "ends": offset, "reason": "drift"}).encode()
    cluster.write(b"candidate/spam", end)
    again = CanaryWorker(cluster)
    run(again)
    assert cluster.note(0) == f"{INSTALLED} 3"
    assert versions(cluster)[0] == {V, INSTALLED}
    assert again.releases.refused == ()
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
    cluster.release(A, candidate=offset)
    say_everywhere(cluster)
    run(worker)
    assert worker.step.models == {"spam": now}
    assert [one.model for one in worker.releases.refused] == ["spam"]
    cluster.check()


def test_a_partition_that_moves_takes_its_counts_and_the_decision_along(cluster: Cluster) -> None:
    first, second = CanaryWorker(cluster, [0]), CanaryWorker(cluster, [1])
    offset = cluster.canary(A, may_hide=0.5, may_demote=0.5)
    say_everywhere(cluster, 12)
    run(first)
    run(second)
    first.assign([])
    second.assign([0, 1])
    # `models` is read to its end once more before it goes on.
    assert not second.releases.lists_complete()
    say_everywhere(cluster, 12)
    run(second)
    assert versions(cluster) == [{V}, {INSTALLED}]
    first.beat(1_000)
    assert len(cluster.topics[MODELS]) == 1
    second.beat(1_000)
    assert last_record(cluster)[1]["candidate"] == offset
    assert "of 24 posts" in str(last_record(cluster)[1]["note"])
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
    refusal = RefusedRelease("candidate/spam", cluster.canary(A), "missing")
    run(worker)
    for at_ms in (1_000, 2_000, 15_999, 16_000, 17_000):
        worker.beat(at_ms, refused_releases=(refusal,))
    assert sent == [b"candidate/spam"] * 2
    cluster.release(None)
    run(worker)
    worker.beat(99_000, refused_releases=(refusal,))
    assert len(sent) == 2


def test_what_scores_in_shadow_is_tried_as_a_release_is_and_needs_its_topic() -> None:
    counts = {"shadow": 2, "posts": 2}
    offsets = SimpleNamespace(partition_count=lambda topic, _: counts[topic])
    connection: Any = SimpleNamespace(offsets=offsets)
    load = partial(load_candidate, connection, threading.Event(), None, "quality")
    sha256 = shipped_sha256("quality")
    answers = answers_of(load_model("quality", None))
    good = Candidate(sha256, answers)
    loaded = load(good)
    assert loaded.model.version == sha256[:12]
    assert 0 < loaded.ms_a_post < 1
    with pytest.raises(BadArtifact, match="where it was released"):
        load(Candidate(sha256, (0.123, *answers[1:])))
    counts["shadow"] = 3
    with pytest.raises(BadArtifact, match="the topic `shadow` has 3 partitions, `posts` has 2"):
        load(good)
    assert load(Candidate(sha256, answers, partitions=1)).model.version == sha256[:12]
