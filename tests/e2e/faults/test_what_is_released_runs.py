"""Workers run what `models` names, else what ships; never what only stands in their store."""

import itertools
import json
from pathlib import Path

import pytest

from builders.engine import Engine
from builders.engine_topics import PARTITIONS, id_in
from builders.model_commands import Models
from builders.waiting import until
from feedmill.streams.releases.loading import shipped_sha256

SHIPPED = shipped_sha256("spam")[:12]
TRAIN = (
    "train spam --data sample/labelled.csv,text=body,label=kind,positive=junk,group=author"
    " --ordinary sample/ordinary.jsonl,group=author --no-snapshot --json"
)


class Judges:
    """Two judges of spam, one of which is killed and replaced, and the store of both."""

    def __init__(self, engine: Engine, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.store = folder / "store"
        self.store.mkdir()
        self.variables = {"FEEDMILL_MODELS": str(self.store), "FEEDMILL_RESCORE_RATE": "0"}
        self.models = Models(engine, self.store, patch, "worker-spam")
        self._names = (f"judge-{n}" for n in itertools.count())
        self._sent = itertools.count()
        self._running = [self._start(), self._start()]

    def _start(self) -> str:
        return self.engine.ready_worker(
            next(self._names), stages="spam", variables=self.variables
        ).name

    def replace(self) -> None:
        """Kill the judge that runs for longest, and start another one."""
        gone = self._running.pop(0)
        self.engine.workers[gone].kill()
        self._running.append(self._start())
        # Commands wait for the answer of whoever reported a moment ago.
        until(lambda: gone not in self.models.run("health").stdout.replace("/", ""), 60)

    def trained(self) -> str:
        """Train a version into the store."""
        assert self.engine.feedmill("sample").returncode == 0
        done = self.engine.feedmill(TRAIN, **self.variables)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["sha256"][:12])

    def states(self) -> dict[str, str]:
        rows = self.models.done("list spam")["versions"]
        return {row["version"]: row["state"] for row in rows}

    def check(self, version: str, canary: str = "", partitions: int = 0) -> None:
        """See that each judge judges by the version that `models list` calls in force."""
        in_force = [one for one, state in self.states().items() if "in force" in state]
        assert in_force == [version]
        sent = next(self._sent)
        ids = [id_in(p, f"p{sent}") for p in range(PARTITIONS)]
        for post_id in ids:
            self.engine.post(post_id)
        until(lambda: set(ids) <= self.engine.latest("signals.spam").keys(), 60)
        known = self.engine.latest("signals.spam")
        judged = [known[post_id]["version"] for post_id in ids]
        assert judged == [canary if p < partitions else version for p in range(PARTITIONS)]

        def all_say_so() -> bool:
            beats = self.engine.instances()
            told = [beats[f"spam/{one[4:]}"]["models"]["spam"] for one in self._running]
            return told == [version, version]

        until(all_say_so)


def test_every_judge_runs_what_is_in_force_whatever_the_store_has_and_whoever_restarts(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = Judges(engine, tmp_path, monkeypatch)
    judges.check(SHIPPED)
    trained = judges.trained()
    assert judges.states() == {trained: "in the store", SHIPPED: "in force, shipped"}
    judges.check(SHIPPED)
    judges.replace()
    judges.check(SHIPPED)

    # A canary before any release: rolling it back releases nothing.
    judges.models.done(f"release spam {trained} --canary 2 --after 1h")
    judges.check(SHIPPED, trained, 2)
    judges.replace()
    judges.check(SHIPPED, trained, 2)
    ended = judges.models.run("rollback spam --note 'too many fine posts'")
    assert f"the canary of {trained} ends, {SHIPPED} judges all posts" in ended.stdout
    judges.check(SHIPPED)
    assert judges.models.done("list spam")["releases"] == []

    # A first release, which a rollback takes back to what ships.
    judges.models.done("release spam")
    judges.check(trained)
    judges.replace()
    judges.check(trained)
    assert judges.models.done("rollback spam --note 'as before'")["version"] == SHIPPED
    judges.check(SHIPPED)
    judges.replace()
    judges.check(SHIPPED)
    assert [row["note"] for row in judges.models.done("list spam")["history"]] == [
        *("", "end of the canary at 0: too many fine posts"),
        *("", "rollback to the shipped version: as before"),
    ]
    # And a rollback of that rollback.
    judges.models.done("rollback spam")
    judges.check(trained)
    assert engine.complaints() == []
