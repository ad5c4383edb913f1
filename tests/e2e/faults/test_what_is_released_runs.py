"""Workers run what `models` names, else what ships; never what only stands in their store."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest

from builders.engine import Engine
from builders.engine_topics import PARTITIONS, Json, id_in, post_of
from builders.model_commands import Models
from builders.model_store import add_version
from builders.waiting import until
from feedmill.filters.model import STORE
from feedmill.models.artifact import Arrays
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
    assert f"the trial of {trained} ends, {SHIPPED} judges all posts" in ended.stdout
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
        *("", "end of the candidate at 0: too many fine posts"),
        *("", "rollback to the shipped version: as before"),
    ]
    # And a rollback of that rollback.
    judges.models.done("rollback spam")
    judges.check(trained)
    assert engine.complaints() == []


def test_a_canary_is_compared_over_kills_and_released_once_it_surely_does_no_harm(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = Judges(engine, tmp_path, monkeypatch)
    trained = judges.trained()
    limits = "--may-hide 0.2 --may-demote 0.2"
    began = judges.models.done(f"release spam {trained} --canary 3 {limits}")["offset"]
    sent = itertools.count()

    def say(count: int) -> None:
        """Send posts of as many authors and texts to each of two partitions."""
        numbers = [next(sent) for _ in range(count)]
        texts = {id_in(p, f"n{n}"): f"Walk {n} by river {p}" for n in numbers for p in (0, 2)}
        engine.posts(post_of(post_id, text) for post_id, text in texts.items())

    def compared() -> dict[str, int]:
        """How many posts were compared, by partition, whoever owns the partition."""
        states = [one.get("candidates", {}).get("spam") for one in engine.instances().values()]
        found: dict[str, int] = {}
        for state in filter(None, states):
            assert (state["version"], state["offset"]) == (trained, began)
            for partition, counts in state["compared"].items():
                found[partition] = max(found.get(partition, 0), counts["posts"])
        return found

    say(8)
    until(lambda: compared() == {"0": 8, "2": 8}, 60)
    judges.replace()
    judges.replace()
    # An author who comes again counts no more, though nobody who saw the first post lives.
    engine.posts(
        post_of(id_in(p, f"again{n}"), f"Again {n} {p}", author_id=f"author-of-{id_in(p, f'n{n}')}")
        for n in range(8)
        for p in (0, 2)
    )
    say(2)
    until(lambda: compared() == {"0": 10, "2": 10}, 60)
    assert judges.models.done("list spam")["releases"] == []
    say(40)
    until(lambda: bool(judges.models.done("list spam")["releases"]), 60)
    (release,) = judges.models.done("list spam")["releases"]
    assert release["version"] == trained
    count = re.fullmatch(r"of (\d+) posts .*: surely below its limits", release["note"])
    assert count is not None, release["note"]
    assert 50 <= int(count[1]) <= 100
    judges.check(trained)
    judges.replace()
    judges.check(trained)
    assert engine.complaints() == []


def hides_all(arrays: Arrays) -> None:
    """Lower the raw scores from which posts are demoted so far that all are hidden."""
    arrays["demote_at"] = arrays["demote_at"] - 50.0


def test_a_worse_version_goes_back_and_stays_back_over_kills(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = Judges(engine, tmp_path, monkeypatch)
    shutil.copytree(STORE, judges.store, dirs_exist_ok=True)
    worse = add_version(judges.store, "spam", hides_all)[:12]
    began = judges.models.done(f"release spam {worse} --canary 1")["offset"]

    def say(name: str, count: int) -> None:
        ids = [id_in(0, f"{name}{n}") for n in range(count)]
        engine.posts(post_of(one, f"Walk {n} by the river {name}") for n, one in enumerate(ids))
        until(lambda: set(ids) <= engine.latest("signals.spam").keys(), 60)

    def said_last() -> tuple[bytes | None, Json]:
        record = engine.read_all("models")[-1]
        return record.key, json.loads(record.value or b"{}")

    say("first", 4)
    assert said_last()[0] == b"candidate/spam"
    judges.replace()
    judges.replace()
    say("then", 60)
    key, ended = until(lambda: said_last() if "ends" in said_last()[1] else None, 60)
    assert (key, ended["ends"]) == (b"candidate/spam", began)
    assert "it is sure to hide more than 1.0% beyond" in ended["reason"]
    records = len(engine.read_all("models"))
    judges.check(SHIPPED)
    judges.replace()
    say("after", 60)
    judges.check(SHIPPED)
    assert len(engine.read_all("models")) == records
    assert engine.complaints() == []
