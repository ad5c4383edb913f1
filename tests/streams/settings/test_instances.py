"""Heartbeats on `instances`, and what they say of a setting; a reader without Kafka."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from feedmill.events.decode import encode
from feedmill.events.instance import Instance, RefusedSetting
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.instances import (
    RECENT_MS,
    SettingAnswer,
    answer_in,
    read_recent_instances,
    recent_instances,
    setting_answers,
)

NOW_MS = 1_790_000_000_000


def heartbeat(config_offset: int = -1, *refused: tuple[int, str]) -> Instance:
    return Instance(
        stage="spam",
        instance="1",
        host="here",
        pid=1,
        build="test",
        config_offset=config_offset,
        refused=tuple(RefusedSetting("weights", offset, reason) for offset, reason in refused),
        models={},
        ready=True,
        lag=0,
        at_ms=NOW_MS,
    )


def record(name: str, beat: Instance | bytes | None, age_ms: int = 0) -> TopicRecord:
    value = encode(beat) if isinstance(beat, Instance) else beat
    return TopicRecord(0, NOW_MS - age_ms, name.encode(), value)


class FakeReader:
    """Gives out the batches one after the other, then nothing; knows where it was sent."""

    def __init__(self, *batches: Sequence[TopicRecord]) -> None:
        self.batches = list(batches)
        self.sought_ms: list[int] = []
        self.timeouts_ms: list[int] = []

    def seek_to_time(self, at_ms: int) -> None:
        self.sought_ms.append(at_ms)

    def read(self, timeout_ms: int) -> list[TopicRecord]:
        self.timeouts_ms.append(timeout_ms)
        if not self.batches:
            time.sleep(timeout_ms / 1000)
            return []
        return list(self.batches.pop(0))

    def read_to_end(self) -> list[TopicRecord]:
        batches, self.batches = self.batches, []
        return [record for batch in batches for record in batch]


# --- who runs ---------------------------------------------------------------------------------


def test_the_last_heartbeat_of_each_recent_instance_counts() -> None:
    records = [record("spam/1", heartbeat(3)), record("nsfw/1", heartbeat(4))]
    records.append(record("spam/1", heartbeat(5)))
    found = recent_instances(records, NOW_MS)
    assert {name: beat.config_offset for name, beat in found.items()} == {"spam/1": 5, "nsfw/1": 4}


def test_an_instance_that_said_goodbye_does_not_run() -> None:
    records = [record("spam/1", heartbeat()), record("nsfw/1", heartbeat()), record("spam/1", None)]
    assert set(recent_instances(records, NOW_MS)) == {"nsfw/1"}
    assert set(recent_instances([*records, records[0]], NOW_MS)) == {"spam/1", "nsfw/1"}


@pytest.mark.parametrize(("age_ms", "runs"), [(RECENT_MS, True), (RECENT_MS + 1, False)])
def test_an_old_heartbeat_does_not_count(age_ms: int, runs: bool) -> None:
    found = recent_instances([record("spam/1", heartbeat(), age_ms)], NOW_MS)
    assert (set(found) == {"spam/1"}) is runs


@pytest.mark.parametrize("value", [b"{", b"{}", b"\xff"])
def test_what_is_no_heartbeat_does_not_count(value: bytes) -> None:
    assert recent_instances([record("spam/1", value)], NOW_MS) == {}


def test_only_recent_records_are_read() -> None:
    reader: Any = FakeReader([record("spam/1", heartbeat(2))], [record("nsfw/1", None)])
    found = read_recent_instances(reader, NOW_MS)
    assert reader.sought_ms == [NOW_MS - RECENT_MS]
    assert found == {"spam/1": heartbeat(2)}


# --- answers ----------------------------------------------------------------------------------


REFUSED = SettingAnswer("spam/1", "refused", 30, "bad")


@pytest.mark.parametrize(
    ("beat", "answer"),
    [
        (heartbeat(6), None),
        (heartbeat(7), SettingAnswer("spam/1", "applied", 30)),
        (heartbeat(9, (6, "old"), (8, "new")), SettingAnswer("spam/1", "applied", 30)),
        (heartbeat(7, (6, "old"), (7, "bad")), REFUSED),
        # It may have been refused, too: a heartbeat tells of ten.
        (heartbeat(30, *((n, "bad") for n in range(20, 30))), None),
        (heartbeat(30, *((n, "bad") for n in range(6, 16))), REFUSED),
    ],
)
def test_a_heartbeat_answers_once_its_instance_has_read_the_record(
    beat: Instance, answer: SettingAnswer | None
) -> None:
    assert answer_in("spam/1", beat, 30, offset=7) == answer


def test_an_answer_is_printed_with_all_its_fields() -> None:
    answer = SettingAnswer("spam/1", "refused", 30, "bad")
    assert answer.as_dict() == dataclasses.asdict(answer)
    assert msgspec.json.decode(msgspec.json.encode(answer.as_dict())) == answer.as_dict()


def answers_to(
    reader: Any, names: Sequence[str], timeout_s: float = 600.0
) -> list[tuple[str, str, str | None]]:
    """Instance, state and reason of each answer about the record at offset 7."""
    running = dict.fromkeys(names, heartbeat(6))
    answers = setting_answers(reader, running, 7, timeout_s)
    return [(each.instance, each.state, each.reason) for each in answers]


def test_answers_come_as_the_instances_give_them_and_end_with_the_last() -> None:
    reader = FakeReader(
        [record("spam/1", heartbeat(6)), record("other/1", heartbeat(7))],
        [record("nsfw/1", heartbeat(7, (7, "bad"))), record("spam/1", heartbeat(7))],
        [record("spam/1", heartbeat(8))],
    )
    assert answers_to(reader, ["spam/1", "nsfw/1"]) == [
        ("nsfw/1", "refused", "bad"),
        ("spam/1", "applied", None),
    ]
    assert len(reader.batches) == 1


def test_an_instance_that_has_answered_already_is_not_waited_for() -> None:
    reader: Any = FakeReader([record("nsfw/1", heartbeat(7))])
    running = {"spam/1": heartbeat(8, (7, "bad")), "nsfw/1": heartbeat(6)}
    found = [(each.instance, each.state) for each in setting_answers(reader, running, 7, 600.0)]
    assert found == [("spam/1", "refused"), ("nsfw/1", "applied")]


def test_an_instance_answers_once() -> None:
    reader = FakeReader([record("spam/1", heartbeat(7))] * 2, [record("nsfw/1", heartbeat(7))])
    found = answers_to(reader, ["spam/1", "nsfw/1"])
    assert found == [("spam/1", "applied", None), ("nsfw/1", "applied", None)]


def test_a_goodbye_is_no_answer_and_those_left_are_silent_by_name() -> None:
    reader = FakeReader([record("spam/1", None), record("nsfw/1", heartbeat(7))])
    assert answers_to(reader, ["spam/1", "nsfw/1", "combiner/1"], timeout_s=0.3) == [
        ("nsfw/1", "applied", None),
        ("combiner/1", "silent", None),
        ("spam/1", "silent", None),
    ]
    assert all(1 <= timeout_ms <= 200 for timeout_ms in reader.timeouts_ms)


def test_without_instances_there_is_nothing_to_wait_for() -> None:
    reader = FakeReader([record("spam/1", heartbeat(7))])
    assert answers_to(reader, []) == []
    assert reader.timeouts_ms == []


def test_a_silent_answer_has_no_time() -> None:
    reader: Any = FakeReader()
    found = list(setting_answers(reader, {"spam/1": heartbeat(6)}, 7, 0.0))
    assert found == [SettingAnswer("spam/1", "silent")]
