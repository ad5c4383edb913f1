"""A version judges the first partition before the rest, and goes back at an alarm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders.engine_topics import PARTITIONS
from builders.fault_engine import FaultEngine
from builders.model_commands import Models
from builders.model_store import add_version, shipped_store
from builders.waiting import until
from feedmill.events.partition import partition_of
from feedmill.models.artifact import read_card


class Canary:
    """A worker of quality, and another version of its model."""

    def __init__(self, engine: FaultEngine, folder: Path, patch: pytest.MonkeyPatch) -> None:
        store = shipped_store(folder / "store")
        self.engine = engine
        self.installed = read_card(store, "quality").version
        self.other = add_version(store, "quality")[:12]
        self.variables = {"FEEDMILL_MODELS": str(store), "FEEDMILL_RESCORE_RATE": "0"}
        self.worker = engine.ready_worker("one", stages="quality", variables=self.variables)
        self.models = Models(engine, store, patch, "worker-quality")
        self._posts = 0

    def judged(self, count: int = 40) -> list[set[str]]:
        """Send posts; return by partition which versions judged them."""
        ids = [f"p{self._posts + n}" for n in range(count)]
        self._posts += count
        for post_id in ids:
            self.engine.post(post_id)
        until(lambda: set(ids) <= self.engine.latest("signals.quality").keys())
        found: list[set[str]] = [set() for _ in range(PARTITIONS)]
        for post_id, signal in self.engine.latest("signals.quality").items():
            if post_id in ids:
                found[partition_of(post_id.encode(), PARTITIONS)].add(signal["version"])
        return found

    def rows(self) -> list[Any]:
        return [row for row in self.models.done("health") if row["model"] == "canary/quality"]

    def restart(self) -> None:
        self.worker.kill()
        self.engine.start_worker("one", stages="quality", variables=self.variables)
        self.engine.wait_ready()


def test_a_canary_is_promoted_after_its_time_and_a_kill_changes_no_version(
    fault_engine: Callable[..., FaultEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary(fault_engine(), tmp_path, monkeypatch)
    old, new = {canary.installed}, {canary.other}
    answer = canary.models.done(f"release quality {canary.other} --canary 1 --after 1h")
    assert [one["state"] for one in answer["instances"]] == ["applied"]
    assert canary.judged() == [new, *[old] * (PARTITIONS - 1)]
    before = canary.models.notes("quality")
    assert {p: version for p, (version, _) in before.items()} == {
        p: canary.installed if p else canary.other for p in range(PARTITIONS)
    }
    canary.restart()
    assert canary.judged() == [new, *[old] * (PARTITIONS - 1)]
    assert [row["state"] for row in canary.rows()] == ["canary"]
    assert canary.models.notes("quality") == before

    # Another one, whose time is short.
    canary.models.done(f"release quality {canary.other} --canary 1 --after 2s")
    promoted = {"quality": canary.other}
    until(lambda: canary.engine.instances()["quality/one"]["models"] == promoted, 90)
    assert canary.judged() == [new] * PARTITIONS
    assert {version for version, _ in canary.models.notes("quality").values()} == {canary.other}
    (release,) = canary.models.done("list quality")["releases"]
    assert (release["version"], "no alarm in its canary" in release["note"]) == (canary.other, True)
    assert canary.rows() == []
    assert canary.engine.complaints() == []
