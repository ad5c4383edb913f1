"""Which posts are not judged: as `poison` says, of the stages that a worker has."""

import json
from typing import Any

import pytest

from builders.fake_log import FakeLog, KeptWriter
from builders.records import StoredRecord
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.poison import poison_log
from feedmill.streams.poison.poison_log import TOPIC, PoisonLog

SOURCE = TopicPartition(TOPIC, 0)


def entry(offset: int, key: str, *stages: str) -> StoredRecord:
    value = json.dumps({"stages": stages, "reason": f"ends {key}", "at_ms": 5}).encode()
    return StoredRecord(offset, 0, key.encode(), value if stages else None)


def opened(monkeypatch: pytest.MonkeyPatch, *records: StoredRecord) -> tuple[PoisonLog, FakeLog]:
    log, connection = FakeLog({SOURCE: [*records]}), None
    monkeypatch.setattr(poison_log, "LogConsumer", lambda *_, **__: log)
    made = PoisonLog(connection, ("spam", "nsfw"))  # type: ignore[arg-type] # nothing asks it
    made.follow()
    made.follow()
    return made, log


def test_a_worker_obeys_what_is_said_of_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    made, log = opened(
        monkeypatch,
        entry(0, "spam/posts/1/7", "spam"),
        entry(1, "quality/posts/1/8", "quality"),
        entry(2, "spam+quality/posts/2/9", "spam", "quality"),
        entry(3, "spam/posts/3/1", "spam"),
        entry(4, "spam/posts/3/1"),
    )
    assert made.is_restored
    assert made.of(1) == {7: "ends spam/posts/1/7"}
    assert made.of(2) == {9: "ends spam+quality/posts/2/9"}
    assert (made.of(0), made.of(3)) == ({}, {})
    log.topics[SOURCE].append(entry(5, "nsfw/posts/1/70", "nsfw"))
    made._read_at = 0.0
    made.follow()
    assert set(made.of(1)) == {7, 70}


def test_what_cannot_be_read_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bad: list[Any] = [
        StoredRecord(0, 0, None, b"{}"),
        StoredRecord(1, 0, b"spam/posts/x/7", b"{}"),
        StoredRecord(2, 0, b"spam/posts/1/7", b"\xff{"),
        entry(3, "spam/posts/1/8", "spam"),
    ]
    assert set(opened(monkeypatch, *bad)[0].of(1)) == {8}


def test_what_is_found_counts_at_once_and_is_written_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = opened(monkeypatch)
    writer = KeptWriter()
    made.add(2, StoredRecord(41), "it takes too long", 7, writer)
    assert made.of(2) == {41: "it takes too long"}
    ((topic, key, value, owner),) = writer.added
    assert (topic, key, owner) == (TOPIC, b"spam+nsfw/posts/2/41", 2)
    assert json.loads(value or b"") == {
        "stages": ["spam", "nsfw"], "reason": "it takes too long", "at_ms": 7,
    }  # fmt: skip
