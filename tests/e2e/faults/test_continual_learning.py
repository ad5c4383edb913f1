"""A process that follows `labels` learns a new wave of spam, and the worker hides it."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from builders.bombs import CODECS, keep_codecs
from builders.engine import Engine
from builders.engine_topics import Json, post_of
from builders.label_simulation import LABELS, RATERS, ordinary_text, wave_text
from builders.model_store import shipped_store
from builders.waiting import now_ms, until
from feedmill.cli.main import main
from feedmill.models.artifact import read_card

ALONE = {"nsfw": {"enabled": False}, "misinformation": {"enabled": False}}
UNSEEN, ORDINARY = 60, 600
MOST_TRIED = 12
STARVED_S = 240.0


class Follower:
    """The process, and the lines that it printed."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self.is_killed = False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.is_killed = True

    def rounds(self) -> list[Json]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def following(engine: Engine, folder: Path, store: Path, *model: str) -> Iterator[Follower]:
    """`feedmill train <model> --follow`, in a process of its own."""
    log = folder / "follow.log"
    words = ["train", *model, "--follow", "--every", "2s", "--window", "1h", "--json"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "feedmill.cli.main", *words],
            env={
                **engine.environment(),
                **engine.as_role("trainer"),
                "FEEDMILL_MODELS": str(store),
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        follower = Follower(process, log)
        yield follower
    finally:
        running = process.poll() is None or follower.is_killed
        process.terminate()
        process.wait(30)
        assert running, log.read_text()[-3000:]


def ordinary_file(folder: Path) -> Path:
    random = np.random.default_rng(8)
    lines = [json.dumps({"text": ordinary_text(random)}) for _ in range(5200)]
    path = folder / "ordinary.jsonl"
    path.write_text("\n".join(lines))
    return path


def posts_of(name: str, write: Callable[[np.random.Generator], str], count: int) -> list[Json]:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return [post_of(f"{name}-{n}", write(random)) for n in range(count)]


def send_labels(engine: Engine, posts: Iterable[Json], target: str = "spam") -> None:
    """Label posts as what they are, by producers of all codecs; what they send stays as it is."""
    topic = engine.topic("labels")
    keep_codecs(engine.kafka, topic)
    producers = [
        engine.producer_of(**{"compression.type": codec, "linger.ms": 5}) for codec in CODECS
    ]
    for number, post in enumerate(posts):
        post_id = post["post_id"]
        label = {
            **{"post_id": post_id, "target": target, "value": int(post_id.startswith("wave"))},
            **{"source": f"rater-{number % RATERS}", "at_ms": now_ms()},
        }
        producers[number % len(producers)].produce(topic, json.dumps(label), post_id)
    assert [producer.flush(30) for producer in producers] == [0] * len(producers)


def decisions(engine: Engine, posts: list[Json]) -> list[str]:
    """Write posts, and wait until each is decided."""
    engine.posts(posts)
    ids = [post["post_id"] for post in posts]
    until(lambda: len(engine.truths(ids)) == len(ids), STARVED_S)
    until(lambda: all("spam" in truth for truth in engine.truths(ids).values()), STARVED_S)
    return [truth["decision"] for truth in engine.truths(ids).values()]


def test_a_new_wave_is_hidden_after_one_interval_and_ordinary_posts_are_not(
    make_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, store = make_engine(), shipped_store(tmp_path / "store")
    installed = read_card(store, "spam")
    engine.ready_worker("one", stages="spam+combiner", variables={"FEEDMILL_MODELS": str(store)})
    engine.wait_applied(engine.set("gates", ALONE))
    assert set(decisions(engine, posts_of("early", wave_text, 20))) == {"show"}
    half = LABELS // 2
    labelled = [*posts_of("wave", wave_text, half), *posts_of("fine", ordinary_text, half)]
    engine.posts(labelled)
    send_labels(engine, np.random.default_rng(9).permutation(np.array(labelled)))

    ordinary = "--ordinary", str(ordinary_file(tmp_path))
    with following(engine, tmp_path, store, "spam", *ordinary) as follower:
        meanwhile = decisions(engine, posts_of("meanwhile", ordinary_text, ORDINARY))
        first = until(follower.rounds, STARVED_S)[0]
        assert (first["labels"], first["raters"], first["reason"]) == (LABELS, RATERS, "tried")
        challenger = first["challenger"]
        # Both versions score what comes, until the workers are sure of the limits.
        assert "is tried" in until(lambda: follower.rounds()[1:], STARVED_S)[0]["reason"]
        for number in range(MOST_TRIED):
            if engine.instances()["spam/one"]["models"]["spam"] == challenger:
                break
            meanwhile += decisions(engine, posts_of(f"more-{number}", ordinary_text, ORDINARY))
        until(lambda: engine.instances()["spam/one"]["models"]["spam"] == challenger, STARVED_S)
        caught = decisions(engine, posts_of("unseen", wave_text, UNSEEN))
        after = decisions(engine, posts_of("ordinary", ordinary_text, ORDINARY))
        assert caught.count("hide") > 0.9 * UNSEEN
        for shown in (meanwhile, after):
            assert shown.count("hide") <= 0.01 * ORDINARY
        # What it learned bets no more: evidence begins with the release.
        last = until(
            lambda: [one for one in follower.rounds() if one.get("champion") == challenger],
            STARVED_S,
        )[0]
        assert (last["bets"], last["reason"]) == (0, "it is not shown to be better")

        engine.use_environment(monkeypatch, FEEDMILL_MODELS=str(store))
        card = json.loads(done("models", "show", "spam", "--json").stdout)
        assert card["metrics"]["better"] >= 100
        assert card["parameters"]["base"] == installed.sha256
        done("models", "freeze", "spam")
        until(lambda: "is frozen at" in follower.rounds()[-1]["reason"], STARVED_S)
        done("models", "unfreeze", "spam")
    # A challenger is not installed, so there is a version to go back to.
    assert read_card(store, "spam") == installed
    done("models", "rollback", "spam")
    until(lambda: engine.instances()["spam/one"]["models"]["spam"] == installed.version)
    assert engine.complaints() == []


def tried(engine: Engine) -> tuple[str, int]:
    """The candidate of quality that the worker scores by, and how many posts both judged."""
    candidate = engine.instances()["quality/one"].get("candidates", {}).get("quality", {})
    posts = sum(counts["posts"] for counts in candidate.get("compared", {}).values())
    return candidate.get("version", ""), posts


def test_ratings_move_quality_and_kills_change_nothing(
    make_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, store = make_engine(), shipped_store(tmp_path / "store")
    engine.ready_worker("one", stages="quality+combiner", variables={"FEEDMILL_MODELS": str(store)})
    half = LABELS // 2
    rated = [*posts_of("wave", wave_text, half), *posts_of("fine", ordinary_text, half)]
    engine.posts(rated)
    send_labels(engine, np.random.default_rng(9).permutation(np.array(rated)), "quality")
    with following(engine, tmp_path, store, "quality") as follower:
        first = until(follower.rounds, STARVED_S)[0]
        assert (first["labels"], first["reason"]) == (LABELS, "tried")
        assert first["better"] >= 100
        follower.kill()
    # Until its time has passed the workers score what comes by both, and show the one in force.
    challenger = first["challenger"]
    until(lambda: tried(engine) == (challenger, 0), STARVED_S)
    engine.posts(posts_of("unseen", wave_text, UNSEEN))
    until(lambda: tried(engine) == (challenger, UNSEEN), STARVED_S)
    worker = engine.workers["quality+combinerone"]
    worker.kill()
    engine.restart(worker.name)
    with following(engine, tmp_path, store, "quality") as follower:
        # Whoever starts again finds the same, and tries nothing else.
        again = until(follower.rounds, STARVED_S)[0]
        assert again["reason"].startswith(f"{challenger} is tried")
    engine.wait_ready()
    until(lambda: tried(engine) == (challenger, UNSEEN), STARVED_S)
    engine.use_environment(monkeypatch, FEEDMILL_MODELS=str(store))
    done("models", "release", "quality", challenger)
    until(lambda: engine.instances()["quality/one"]["models"]["quality"] == challenger)
    ids = [post["post_id"] for post in (*posts_of("unseen", wave_text, 9), *rated[-9:])]

    def orders_as_rated() -> bool:
        values = [engine.truths([one])[one]["quality"]["value"] for one in ids]
        return bool(min(values[:9]) > max(values[9:]))

    engine.posts([*posts_of("unseen", wave_text, 9), *rated[-9:]])
    until(orders_as_rated, STARVED_S)
    assert engine.complaints() == []


def done(*words: str) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result
