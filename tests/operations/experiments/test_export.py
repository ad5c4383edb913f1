"""The exporter writes a part where enough waits, and a letter of each exposure that is none."""

import json
from pathlib import Path

import pytest

from builders.engine_topics import Position, letter_positions
from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.experiments.export_folder import ExportFolder, Part
from feedmill.operations.experiments import export as exporter
from feedmill.operations.experiments.export import ExportOptions, export
from feedmill.streams.kafka import dead_letters

pytestmark = pytest.mark.stack
EVENTS = 400


@pytest.mark.parametrize("topic", ["exposures", "engagements"])
def test_a_backlog_becomes_parts(
    topic: str, stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_MOST_RECORDS", 20)
    log = KafkaLog.created(stack.kafka, prefix)
    page = {"experiment": "none", "arm": "a", "feed": "global", "version": 1, "first": 0}
    what: dict[str, dict[str, object]] = {
        "exposures": {**page, "count": 10},
        "engagements": {"post_id": "p", "kind": "impression"},
    }
    event = {"user_id": "u", "at_ms": 1_700_000_000_000, **what[topic]}
    key = b"u" if topic == "exposures" else b"p"
    log.produce(topic, [(key, json.dumps(event).encode())] * EVENTS)
    parts: list[Part] = []
    options = ExportOptions(tmp_path / "out", part_s=3600.0, part_rows=100)
    export(log.environment, options, parts.append)
    counts = [part.rejected_count + part.tables.get(topic, 0) for part in parts]
    assert sum(counts) == EVENTS
    assert len(counts) >= 3
    assert max(counts) < 200


def test_large_exposures_become_parts_by_their_bytes(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_PART_BYTES", 3_000_000, raising=False)
    log = KafkaLog.created(stack.kafka, prefix, partitions=1)
    log.produce("exposures", [(b"u", b'{"user_id": "%s"}' % (b"u" * 900_000))] * 30)
    parts: list[Part] = []
    export(log.environment, ExportOptions(tmp_path / "out", part_s=3600.0), parts.append)
    counts = [part.rejected_count for part in parts]
    assert sum(counts) == 30
    assert max(counts) <= 8


def letters(log: KafkaLog) -> list[Position]:
    found = []
    for message in log.read("dead-letters"):
        found += letter_positions(message.headers() or [], message.value())
    return found


def test_a_bad_exposure_is_a_dead_letter_before_its_part_is_written(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "LETTERS_PER_S", 2)
    log = KafkaLog.created(stack.kafka, prefix, partitions=1)
    log.produce("exposures", [(b"u", b"{")] * 5)
    options = ExportOptions(tmp_path / "out")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExportFolder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            export(log.environment, options, lambda _: None)
    places = [("exposures", 0, offset) for offset in range(5)]
    assert letters(log) == places
    first, *_, last = log.read("dead-letters")
    assert (first.key(), first.value()) == (b"u", b"{")
    headers = dict(first.headers() or [])
    assert (headers["stage"], headers["offset"]) == (b"experiments", b"0")
    assert headers["error"].startswith(b"JSON is malformed")
    # Those beyond the rate share one.
    assert dict(last.headers() or [])["records"] == b"3"
    # What no part has is read again, and its letters are repeated; what a part has is not.
    for _ in range(2):
        export(log.environment, options, lambda _: None)
    assert letters(log) == places * 2


def test_no_part_is_written_whose_letters_did_not_arrive(
    stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_LETTERS_WITHIN_S", 0.0)
    log = KafkaLog.created(stack.kafka, prefix, partitions=1)
    log.produce("exposures", [(b"u", b"{")])
    parts: list[Part] = []
    with pytest.raises(UsageError, match="cannot connect"):
        export(log.environment, ExportOptions(tmp_path / "out"), parts.append)
    assert parts == []
