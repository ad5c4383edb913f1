"""What goes wrong in the first hour is said where people look: in a topic, by /readyz, by `run`."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.engine import Engine
from builders.waiting import until
from feedmill.filters.spec import STORE
from feedmill.models.artifact import read_card, read_content, save_artifact

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def engine(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(stack.kafka, stack.redis, "mistakes.", tmp_path_factory.mktemp("mistakes"))
    try:
        engine.start("quality+engagement")
        engine.wait_ready()
        yield engine
    finally:
        engine.stop()


def test_times_in_seconds_and_microseconds_are_dead_letters(engine: Engine) -> None:
    letters = engine.consumer("dead-letters", beginning=True)
    at_s = int(time.time())
    for post_id, at in (("seconds", at_s), ("micro", at_s * 1_000_000), ("fine", at_s * 1000)):
        post = {"post_id": post_id, "author_id": "ann", "created_at_ms": at, "text": "Hello"}
        engine.send("posts", post_id, post)
    like = {"post_id": "fine", "user_id": "bob", "kind": "like", "at_ms": at_s}
    engine.send("engagements", "fine", like)
    engine.producer.flush(30)
    reasons: dict[tuple[str, str], str] = {}

    def written() -> int:
        for records in letters.poll(timeout_ms=50).values():
            for record in records:
                headers = dict(record.headers)
                at = headers["topic"].decode(), record.key.decode()
                reasons[at] = headers["error"].decode()
        return len(reasons)

    until(lambda: written() == 3)
    letters.close()
    early = "Expected Unix time in milliseconds, from 2005-01-01 (1104537600000) on"
    assert reasons["posts", "seconds"].startswith(early)
    assert reasons["engagements", "fine"].startswith(early)
    ahead = reasons["posts", "micro"]
    assert ahead.startswith("Expected Unix time in milliseconds, at most a day after")
    assert ahead.endswith(f"got {at_s * 1_000_000} - at `$.created_at_ms`")


def test_a_second_group_that_judges_the_same_is_not_ready_and_says_why(engine: Engine) -> None:
    # Named after the first one: `worker-quality-engagement` comes before `worker-quality-spam`.
    engine.start("quality+spam")
    second = engine.workers["quality+spam"]
    own = engine.workers["quality+engagement"]

    def said() -> str:
        assert second.process.poll() is None, second.log.read_text()[-3000:]
        try:
            url = engine.metrics_url(second.name).replace("metrics", "readyz")
            urllib.request.urlopen(url)  # noqa: S310 - of the engine's own log
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except (OSError, IndexError):
            pass
        return ""

    group = f"{engine.prefix}worker-quality-engagement"
    until(lambda: f"the group `{group}` runs the stage quality, too" in said())
    until(lambda: "runs the stage quality, too" in own.log.read_text())
    assert engine.instances()[next(k for k in engine.instances() if k.startswith("engagement/"))][
        "ready"
    ]
    second.stop()
    del engine.workers["quality+spam"]


def test_run_ends_with_the_reason_where_no_worker_can_start(engine: Engine, tmp_path: Path) -> None:
    card = read_card(STORE, "spam")
    save_artifact(tmp_path, card, read_content(STORE, "spam", card.sha256))
    # Cut off, as by a copy that was interrupted.
    (tmp_path / f"{card.sha256}.npz").write_bytes(b"PK")
    done = subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", "run", "--without", "combiner"],
        env={**engine.environment(), "FEEDMILL_MODELS": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"feedmill: worker: cannot start: model `spam@{card.version}`: {tmp_path}/{card.sha256}.npz"
        " was altered"
    )
    assert "is restarted" not in done.stderr
