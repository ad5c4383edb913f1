"""Heartbeats on `instances`, and what they say of a setting; a reader without Kafka."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from builders.events import heartbeat
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


def beat_at(config_offset: int = -1, *refused: tuple[int, str]) -> Instance:
    said = tuple(RefusedSetting("weights", offset, reason) for offset, reason in refused)
    return heartbeat(config_offset=config_offset, refused=said, at_ms=NOW_MS)


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
    records = [record("spam/1", beat_at(3)), record("nsfw/1", beat_at(4))]
    records.append(record("spam/1", beat_at(5)))
    found = recent_instances(records, NOW_MS)
    assert {name: beat.config_offset for name, beat in found.items()} == {"spam/1": 5, "nsfw/1": 4}


def test_an_instance_that_said_goodbye_does_not_run() -> None:
    records = [record("spam/1", beat_at()), record("nsfw/1", beat_at()), record("spam/1", None)]
    assert set(recent_instances(records, NOW_MS)) == {"nsfw/1"}
    assert set(recent_instances([*records, records[0]], NOW_MS)) == {"spam/1", "nsfw/1"}


@pytest.mark.parametrize(
    ("beat", "age_ms", "runs"),
    [
        (beat_at(), RECENT_MS, True),
        (beat_at(), RECENT_MS + 1, False),
        (b"{", 0, False),
        (b"{}", 0, False),
        (b"\xff", 0, False),
    ],
)
def test_what_is_old_or_no_heartbeat_does_not_count(
    beat: Instance | bytes, age_ms: int, runs: bool
) -> None:
    reader: Any = FakeReader([record("spam/1", beat, age_ms)], [record("nsfw/1", None)])
    found = read_recent_instances(reader, NOW_MS)
    assert reader.sought_ms == [NOW_MS - RECENT_MS]
    assert (set(found) == {"spam/1"}) is runs


# --- answers ----------------------------------------------------------------------------------


REFUSED = SettingAnswer("spam/1", "refused", 30, "bad")


@pytest.mark.parametrize(
    ("beat", "answer"),
    [
        (beat_at(6), None),
        (beat_at(7), SettingAnswer("spam/1", "applied", 30)),
        (beat_at(9, (6, "old"), (8, "new")), SettingAnswer("spam/1", "applied", 30)),
        (beat_at(7, (6, "old"), (7, "bad")), REFUSED),
        # It may have been refused, too: a heartbeat tells of ten.
        (beat_at(30, *((n, "bad") for n in range(20, 30))), None),
        (beat_at(30, *((n, "bad") for n in range(6, 16))), REFUSED),
    ],
)
def test_a_heartbeat_answers_once_its_instance_has_read_the_record(
    beat: Instance, answer: SettingAnswer | None
) -> None:
    assert answer_in("spam/1", beat, 30, offset=7) == answer


def answers_to(
    reader: Any, names: Sequence[str], timeout_s: float = 600.0
) -> list[tuple[str, str, str | None]]:
    """Instance, state and reason of each answer about the record at offset 7."""
    running = dict.fromkeys(names, beat_at(6))
    answers = setting_answers(reader, running, 7, timeout_s)
    return [(each.instance, each.state, each.reason) for each in answers]


def test_answers_come_as_the_instances_give_them_and_end_with_the_last() -> None:
    reader = FakeReader(
        [record("spam/1", beat_at(6)), record("other/1", beat_at(7))],
        [record("nsfw/1", beat_at(7, (7, "bad"))), record("spam/1", beat_at(7))],
        [record("spam/1", beat_at(8))],
        [record("spam/1", beat_at(8))],
    )
    assert answers_to(reader, ["spam/1", "nsfw/1"]) == [
        ("nsfw/1", "refused", "bad"),
        ("spam/1", "applied", None),
    ]
    assert len(reader.batches) == 2
    assert answers_to(reader, []) == []
    assert len(reader.batches) == 2


def test_an_instance_that_has_answered_already_is_not_waited_for() -> None:
    reader: Any = FakeReader([record("nsfw/1", beat_at(7))])
    running = {"spam/1": beat_at(8, (7, "bad")), "nsfw/1": beat_at(6)}
    found = [(each.instance, each.state) for each in setting_answers(reader, running, 7, 600.0)]
    assert found == [("spam/1", "refused"), ("nsfw/1", "applied")]
    # An instance answers once.
    reader = FakeReader([record("spam/1", beat_at(7))] * 2, [record("nsfw/1", beat_at(7))])
    again = answers_to(reader, ["spam/1", "nsfw/1"])
    assert again == [("spam/1", "applied", None), ("nsfw/1", "applied", None)]


def test_a_goodbye_is_no_answer_and_those_left_are_silent_by_name() -> None:
    reader = FakeReader([record("spam/1", None), record("nsfw/1", beat_at(7))])
    assert answers_to(reader, ["spam/1", "nsfw/1", "combiner/1"], timeout_s=0.3) == [
        ("nsfw/1", "applied", None),
        ("combiner/1", "silent", None),
        ("spam/1", "silent", None),
    ]
    assert all(1 <= timeout_ms <= 200 for timeout_ms in reader.timeouts_ms)
