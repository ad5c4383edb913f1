"""Versions of models are released, refused, frozen and rolled back while posts flow."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.engine import Engine
from builders.engine_topics import PARTITIONS, Json, post_of
from builders.model_commands import Models
from builders.model_store import add_version, shipped_store
from builders.waiting import in_background, until
from feedmill.models.artifact import read_card
from feedmill.models.store_files import RemoteStore, write_file

RATE = 100


class Flow:
    """Posts at a steady rate, in the order in which they were sent."""

    def __init__(self, engine: Engine) -> None:
        self.sent: list[str] = []
        self._engine = engine

    def send_until(self, stop: threading.Event) -> None:
        while not stop.wait(1 / RATE):
            post_id = f"p{len(self.sent)}"
            text = f"The {len(self.sent)} ways to mend a fence, and what it takes"
            self._engine.send("posts", post_id, post_of(post_id, text))
            self.sent.append(post_id)

    def wait_for_more(self, count: int = 60) -> None:
        end = len(self.sent) + count
        until(lambda: len(self.sent) >= end)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return shipped_store(tmp_path / "store")


def signals(engine: Engine, name: str) -> Iterator[tuple[int, str, Json]]:
    """Partition, post and value of each record of a signal, in the order of the log."""
    for record in engine.read_all(f"signals.{name}"):
        yield record.partition, record.key.decode(), json.loads(record.value)


def test_each_post_is_judged_once_by_one_version_and_a_kill_changes_nothing(
    engine: Engine, store: Path, s3_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The versions are in an S3 store."""
    installed = read_card(store, "quality").sha256
    other = add_version(store, "quality")
    for path in store.iterdir():
        write_file(s3_store, path.name, path.read_bytes())
    # Earlier posts keep their signals, so that each has one.
    variables = {"FEEDMILL_MODELS": str(s3_store), "FEEDMILL_RESCORE_RATE": "0"}
    worker = engine.ready_worker("one", variables=variables)
    models, flow = Models(engine, s3_store, monkeypatch), Flow(engine)
    order = [installed, other, installed, other]
    with in_background(flow.send_until):
        for sha256 in order[1:]:
            flow.wait_for_more()
            answer = models.done(f"release quality {sha256[:12]}")
            assert [one["state"] for one in answer["instances"]] == ["applied"]
        flow.wait_for_more()
        # In the middle of a release, whose record stands already.
        models.done(f"release quality {installed} --timeout 0")
        worker.kill()
        engine.start_worker("one", variables=variables)
        engine.wait_ready()
        flow.wait_for_more()
    engine.producer.flush(30)
    until(lambda: set(flow.sent) == set(engine.latest("signals.quality")))
    order.append(installed)

    changes: dict[int, list[tuple[str, int]]] = {p: [] for p in range(PARTITIONS)}
    counts: dict[str, int] = {}
    for partition, post_id, signal in signals(engine, "quality"):
        counts[post_id] = counts.get(post_id, 0) + 1
        if not changes[partition] or changes[partition][-1][0] != signal["version"]:
            changes[partition].append((signal["version"], signal["post_offset"]))
    assert set(counts.values()) == {1}
    for partition, seen in changes.items():
        assert [version for version, _ in seen] == [sha256[:12] for sha256 in order], partition
    recorded = models.notes("quality")
    for partition, seen in changes.items():
        version, offset = recorded[partition]
        assert version == seen[-1][0]
        # No post stands between the offset that is recorded and the first one it judged.
        assert seen[-1][1] >= offset
        judged_before = [
            one["post_offset"]
            for p, _, one in signals(engine, "quality")
            if p == partition and one["version"] != version
        ]
        assert max(judged_before) < offset
    assert {signal["version"] for _, _, signal in signals(engine, "spam")} == {
        read_card(store, "spam").version
    }
    assert engine.complaints() == []
