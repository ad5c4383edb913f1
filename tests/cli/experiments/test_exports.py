"""`feedmill experiments export | join | forget`, on real Kafka and Redis."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pa_parquet
import pytest
import redis

from builders.commands import Run
from builders.experiment_tables import SETTING, experiment_of
from builders.exported_events import NAME, STARTED_MS, Event, drawn_events, expected_rows, start_at
from builders.kafka_log import KafkaLog
from builders.waiting import now_ms, until
from feedmill.cli.experiments.exports import exported_lines, exported_part
from feedmill.deploy.local import StackAddress
from feedmill.experiments.export_folder import KeyedHash, open_export
from feedmill.operations.experiments.export import ExportedSettings
from feedmill.streams.environment import read_environment

EVENTS = drawn_events(experiment_of(), 1, 400, each=10)
KEY = b"a key of this test"
GOOD = {**EVENTS[0][0], "user_id": "somebody"}
BAD = [
    (b"another", json.dumps(GOOD).encode()),
    (b"somebody", json.dumps({**GOOD, "experiment": "none"}).encode()),
    (b"somebody", json.dumps({**GOOD, "arm": "c"}).encode()),
]
REASONS = (
    "Expected an id that is the record's key - at `$.user_id`",
    "Expected an experiment that was started, got 'none' - at `$.experiment`",
    "Expected one of the experiment's (control, fresher), got 'c' - at `$.arm`",
)


@pytest.fixture
def log(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KafkaLog:
    monkeypatch.chdir(tmp_path)
    Path("key.txt").write_bytes(KEY)
    made = KafkaLog.created(stack.kafka, prefix)
    made.produce(
        "config", [(f"experiments/{NAME}".encode(), json.dumps({"value": SETTING}).encode())]
    )
    return made


def send(log: KafkaLog, exposures: list[Event], engagements: list[Event]) -> None:
    log.produce("exposures", [keyed(event, "user_id") for event in exposures])
    log.produce("engagements", [keyed(event, "post_id") for event in engagements])


def keyed(event: Event, key: str) -> tuple[bytes, bytes]:
    return str(event[key]).encode(), json.dumps(event).encode()


def table(name: str) -> dict[int, Any]:
    return {row.pop("user"): row for row in pa_parquet.read_table(name).to_pylist()}


def test_a_killed_exporter_leaves_the_same_bytes(log: KafkaLog, run: Run) -> None:
    send(log, *(events[::2] for events in EVENTS))
    log.produce("exposures", BAD)
    drawn = random.Random(3)
    for number, end in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGINT)):
        some = [events[1 + 2 * number :: 6] for events in EVENTS]
        words = "experiments export --out killed --key key.txt --follow --every 0.02s"
        with subprocess.Popen(
            [sys.executable, "-m", "feedmill.cli.main", *words.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            until(process.stdout.readline, 60)
            send(log, *some)
            time.sleep(drawn.uniform(0, 0.6))
            process.send_signal(end)
            told = process.stderr.read().decode()
    assert "ended: what no part has yet is read again" in told
    again = run("experiments export --out killed --key key.txt")
    assert again.exit_code == 0, again.output
    whole = run("experiments export --out whole --key key.txt")
    assert whole.stderr.count("is left out") == len(BAD)
    for reason in REASONS:
        assert reason in whole.stderr
    assert "somebody" not in whole.output
    for name in ("killed", "whole"):
        start_at(Path(name), STARTED_MS)
        found = run(f"experiments join {name} {NAME} --out {name}.parquet --record {name}.json")
        assert found.exit_code == 0, found.output
    assert Path("killed.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert len(list(Path("killed/parts").iterdir())) > 3
    hashed = KeyedHash(KEY)
    newest_ms = max(event["at_ms"] for events in EVENTS for event in events) + 10**9
    expected = expected_rows(experiment_of(), *EVENTS, newest_ms)
    found_rows = table("whole.parquet")
    assert found_rows == {hashed.user(user): row for user, row in expected.items()}


def first_exposures(exposures: list[Event], rest: list[Event]) -> list[Event]:
    first: dict[Any, Event] = {}
    for one in sorted((one for one in exposures if one not in rest), key=lambda one: one["at_ms"]):
        first.setdefault(one["user_id"], one)
    return [*first.values()]


def test_an_experiment_is_analysed_from_kafka(
    log: KafkaLog, run: Run, stack: StackAddress, prefix: str
) -> None:
    exposures, engagements = drawn_events(experiment_of(), 2, 2_600, each=6, uplift=0.5)
    rest = [one for one in exposures if one["user_id"] == "usér-7"]
    send(log, [one for one in exposures if one not in rest], engagements)
    with redis.Redis.from_url(stack.redis) as lists:
        for key, posts in (("feed:{global}", 0), (f"feed:{{global}}:arm:{NAME}.fresher", 5)):
            lists.zadd(prefix + key, {f"p{number}": number for number in range(posts, posts + 10)})
            lists.hset(f"{prefix}{key}:info", "version", "1")
    words = f"experiments join export {NAME} --out users.parquet --record record.json"
    analyse = f"experiments analyse users.parquet --experiment {NAME}.json --record record.json"

    def joined() -> dict[str, Any]:
        assert run("experiments export --out export").exit_code == 0
        start_at(Path("export"), STARTED_MS)
        found = run(f"{words} --experiment {NAME}.json --json")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["mismatched"] == 0
        return dict(json.loads(run(f"{analyse} --json").stdout))

    report = joined()
    assert [one for one in report["checks"] if one["state"] != "ok"] == []
    (primary, *_) = report["arms"][0]["metrics"]
    assert primary["better"]
    assert primary["treated"] > 1.2 * primary["control"]
    assert "fresher 50%" in next(one["found"] for one in report["checks"] if one["check"] == "dose")

    least = min(Counter(one["arm"] for one in first_exposures(exposures, rest)).values())
    # As if the setting, which these readers are older than, had come before them.
    environment, kept = read_environment(), open_export(Path("export"))
    known = exported_part(
        environment, Path("export"), ExportedSettings(kept, environment.signals).run(NAME)
    )
    said = f"{least:,} of {SETTING['planned_n']:,} users in the smallest arm, "
    assert "\n".join(exported_lines(known, now_ms())).startswith(said)
    listed = run("experiments list --data export").stdout
    assert f"- {NAME}: {report['conclusion']}\n" in listed
    [in_json] = json.loads(run("experiments list --data export --json").stdout)
    assert in_json["result"] == report["conclusion"]
    demo = run(f"experiments demo export {NAME}").stdout
    assert demo.startswith("fresher is better than control for its readers: fresher changes")
    assert f" {primary['metric']} by {primary['difference']:+.3g}" in demo
    assert "<svg" in Path(f"{NAME}.html").read_text()

    forgotten = run("experiments forget export usér-8")
    assert int(forgotten.stdout.split()[0]) > 0
    assert run("experiments forget export usér-8").stdout == "0 rows removed\n"
    assert joined()["users"] == report["users"] - 1

    # What Kafka drops before it is read is a gap.
    send(log, rest, [])
    log.delete_records("exposures")
    send(log, rest, [])
    report = joined()
    gaps = next(one for one in report["checks"] if one["check"] == "data: gaps")
    assert gaps["state"] == "failed"
    assert "offsets" in gaps["found"]
    assert report["arms"] == []
    assert report["users"] == 2_600 - 1
