"""How far a worker is with releases, and what it does while the store does not answer."""

import subprocess
import sys
import threading

import pytest

from builders.canary_worker import A, B, CanaryWorker, Cluster
from builders.waiting import until
from feedmill.streams.releases import newest_releases


def test_a_worker_with_all_models_imports_nothing_of_a_server_or_of_training() -> None:
    code = (
        "import sys, feedmill.streams.worker.worker;"
        "from feedmill.streams.releases.loading import MODELS, load_model;"
        "[load_model(name, None) for name in MODELS]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unwanted = {"s3fs", "fsspec", "botocore", "lightgbm", "sklearn", "scipy", "pandas"}
    assert unwanted.isdisjoint(done.stdout.split())


def test_a_release_waits_for_the_store_and_comes_when_it_answers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_releases, "_PAUSE_S", 0.01)
    worker = CanaryWorker(cluster)
    cluster.away = True
    offset = cluster.release(A)

    def tried(times: int) -> bool:
        worker.releases.follow()
        return cluster.tries >= times

    until(lambda: tried(4), every=0.001)
    (waiting,) = worker.releases.waiting
    assert (waiting.model, waiting.offset) == ("spam", offset)
    assert waiting.reason == "the server is not reachable"
    # It is neither refused nor dealt with, and holds no partition back.
    assert worker.releases.refused == ()
    assert worker.releases.offset("spam") == offset - 1
    assert worker.releases.is_settled()
    assert worker.step.models == {"spam": "installed"}
    cluster.away = False
    until(worker.settled, every=0.001)
    assert worker.step.models == {"spam": A[:12]}
    assert worker.releases.waiting == ()


def test_a_worker_that_starts_judges_nothing_until_the_store_gives_what_is_released(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It asks often, since nothing is judged meanwhile.
    monkeypatch.setattr(newest_releases, "_PAUSE_S", 1000.0)
    monkeypatch.setattr(newest_releases, "_MOST_AT_START_S", 0.01)
    cluster.away = True
    cluster.release(A)
    worker = CanaryWorker(cluster, starts=False)

    def asked(times: int) -> bool:
        worker.releases.follow()
        return cluster.tries >= times

    until(lambda: asked(4), every=0.001)
    assert not worker.releases.is_settled()
    assert worker.releases.ready_reason() == "loading released models: spam"
    cluster.away = False
    until(worker.settled, every=0.001)
    assert worker.step.models == {"spam": A[:12]}
    assert worker.releases.ready_reason() == ""


def test_each_pause_is_longer_up_to_five_minutes() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(newest_releases.next_pause_s(pauses[-1]))
    assert pauses[1:] == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_newer_release_does_not_wait_for_the_pause_of_the_one_before(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_releases, "_PAUSE_S", 1000.0)
    worker = CanaryWorker(cluster)
    cluster.away = True
    cluster.release(A)
    until(lambda: worker.releases.follow() and worker.releases.waiting, every=0.001)
    assert cluster.tries == 1
    cluster.away = False
    cluster.release(B)
    until(worker.settled, every=0.001)
    assert worker.step.models == {"spam": B[:12]}
    assert worker.releases.waiting == ()


def test_a_candidate_that_is_loaded_still_is_not_dealt_with_while_a_release_comes(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = CanaryWorker(cluster)
    goes_on = threading.Event()
    monkeypatch.setattr(
        worker.releases.candidates, "_load", lambda *_: goes_on.wait(10) and None, raising=True
    )
    shadow = cluster.canary(B, partitions=0)
    worker.releases.follow()
    first = cluster.release(A)

    def runs_first() -> bool:
        worker.releases.follow()
        return worker.step.models == {"spam": A[:12]}

    until(runs_first, every=0.001)
    assert first > shadow
    assert worker.releases.offset("spam") == shadow - 1
    # Another release that waits does not say that the candidate is there.
    cluster.away = True
    cluster.release(B)
    until(lambda: bool(worker.releases.follow() or worker.releases.waiting), every=0.001)
    assert worker.releases.offset("spam") == shadow - 1
    worker.releases.close()
    goes_on.set()
