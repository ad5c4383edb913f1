"""What goes wrong in the first hour is said where people look: in a topic, by /readyz, by `run`.

All of it from outside: `feedmill` as a process, and plain clients.  What needs no engine is in
`test_first_training.py`, pages of feeds are in `tests/examples/test_frontend.py`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from builders.engine import Engine
from builders.model_store import add_version, shipped_store
from builders.waiting import now_ms, until
from feedmill.filters.spec import STORE
from feedmill.models.artifact import read_card, read_content, save_artifact

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(stack.kafka, stack.redis, "mistakes.", tmp_path_factory.mktemp("mistakes"))
    try:
        engine.start("quality+engagement")
        engine.wait_ready()
        yield engine
    finally:
        engine.stop()


def feedmill(engine: Engine, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `feedmill …` in a process of its own, about this installation."""
    return subprocess.run(
        [sys.executable, "-m", "feedmill.cli.main", *shlex.split(line)],
        env={**engine.environment(), **variables},
        cwd=engine.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
    done = feedmill(engine, "run --without combiner --for 30", FEEDMILL_MODELS=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"feedmill: worker: cannot start: model `spam@{card.version}`: {tmp_path}/{card.sha256}.npz"
        " was altered"
    )
    assert "is restarted" not in done.stderr


def test_a_worker_takes_what_its_store_lacks_from_the_shipped_models(
    engine: Engine, tmp_path: Path
) -> None:
    # As `train spam --out` leaves a store: with one model.
    card = read_card(STORE, "spam")
    save_artifact(tmp_path, card, read_content(STORE, "spam", card.sha256))
    engine.variables["FEEDMILL_MODELS"] = str(tmp_path)
    try:
        engine.start("nsfw")
    finally:
        del engine.variables["FEEDMILL_MODELS"]
    engine.wait_ready("nsfw")
    engine.workers.pop("nsfw").stop()


def test_a_refused_release_says_that_it_stays_and_how_to_take_it_back(
    engine: Engine, tmp_path: Path
) -> None:
    store = shipped_store(tmp_path / "models")
    version = add_version(store, "quality")[:12]
    # The workers read the shipped models, where it is not.
    own = {"FEEDMILL_MODELS": str(store)}
    refused = feedmill(engine, f"models release quality {version} --timeout 30", **own)
    assert refused.returncode == 1
    assert re.search(
        r"refused by quality/\S+: .*; it stays on `models`, and an instance that starts later runs"
        r" it if it can by then: `feedmill models rollback quality` takes it back\n$",
        refused.stderr,
    ), refused.stderr
    back = feedmill(engine, "models rollback quality --timeout 30", **own)
    assert back.returncode == 0, back.stderr


def test_the_history_of_a_model_has_all_that_was_done_to_it(engine: Engine) -> None:
    sha256 = read_card(STORE, "spam").sha256
    tried = {"sha256": sha256, "answers": [0.5]}
    canary = {**tried, "by": "dan", "partitions": 1, "after_ms": 1000}
    engine.send("models", "spam", {**tried, "by": "ann", "note": "first"}, partition=0).get(30)
    engine.send("models", "shadow/spam", {**tried, "by": "bob"}, partition=0).get(30)
    began = engine.send("models", "canary/spam", canary, partition=0).get(30).offset
    ended = {**canary, "ends": began, "reason": "spam/2: it says nan"}
    engine.send("models", "canary/spam", ended, partition=0).get(30)
    assert feedmill(engine, "models rollback spam --timeout 0 --by eve").returncode == 0
    said = feedmill(engine, "models list spam").stdout
    for what, by in {
        "released": "ann",
        "scores in shadow": "bob",
        "canary begins": "dan",
        "canary ends": "dan",
    }.items():
        assert re.search(rf" {what} +{sha256[:12]} .*{by}", said), (what, said)
    assert re.search(r" released +\(installed\) .*eve +rollback", said), said


def test_gates_that_hide_before_they_demote_are_warned_of(engine: Engine) -> None:
    done = feedmill(engine, "config set gates spam.hide_at=0.4 --timeout 0")
    assert done.returncode == 0
    assert "warning: spam: hide_at 0.4 is below demote_at 0.6: every post from 0.4" in done.stderr


def test_what_run_tells_to_paste_changes_its_own_installation(engine: Engine) -> None:
    # The main installation is named by variables, the one that `run` starts by flags.
    main = {"FEEDMILL_TOPIC_PREFIX": engine.topic("main.")}
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    admin.create_topics([NewTopic(engine.topic("main.config"), 1, 1)])
    admin.close()
    flags = f"--prefix {engine.prefix} --redis-prefix {engine.prefix}"
    others = ("nsfw", "misinformation", "quality", "engagement", "combiner")
    without = " ".join(f"--without {name}" for name in others)
    shown = feedmill(engine, f"run --for 0.1 {flags} {without}", **main).stdout
    (hint,) = (line.strip() for line in shown.splitlines() if " config set weights " in line)
    before = len(engine.read_all("config"))
    pasted = feedmill(engine, f"{hint.partition(' ')[2]} --timeout 0", **main)
    assert pasted.returncode == 0, (hint, pasted.stderr)
    assert engine.read_all("main.config") == []
    (written,) = engine.read_all("config")[before:]
    assert json.loads(written.value)["value"] == {"quality": 0.1, "engagement": 0.9}


def test_a_fresh_demo_is_told_how_long_to_wait_for_clicks(engine: Engine) -> None:
    engine.post("seen")
    for number in range(20):
        event = {"post_id": "seen", "user_id": f"u{number}", "kind": "impression", "position": 1}
        engine.send("engagements", "seen", {**event, "at_ms": now_ms()})
    engine.producer.flush(30)
    refused = feedmill(engine, "train engagement --from-topics --out made")
    assert refused.returncode == 1
    assert "20 more came less than --wait 24h before the end" in refused.stderr, refused.stderr
    assert re.search(r"so give --wait \d+[sm]$", refused.stderr.strip()), refused.stderr


def test_producers_are_told_that_kafka_refuses_a_record_without_a_key(engine: Engine) -> None:
    # All in one batch, as of a producer that is busy.
    busy = KafkaProducer(bootstrap_servers=engine.kafka, linger_ms=1000)
    keys = (b"p1", None, b"p2")
    sent = [busy.send(engine.topic("posts"), b"{}", key, partition=0) for key in keys]
    for future in sent:
        with pytest.raises(
            KafkaError, match=r"Compacted topic cannot accept|part of a batch which"
        ):
            future.get(30)
    busy.close()
    told = (ROOT / "README.md").read_text()
    assert "Kafka refuses a post without a key, and the other records of its batch" in told
