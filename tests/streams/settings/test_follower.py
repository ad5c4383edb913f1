"""How a stage follows `config`; a log without Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from builders.records import StoredRecord, record_batch
from feedmill.events.settings import Settings
from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.settings import follower as follower_module
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.follower import SettingsFollower


class FakeLog:
    """Has these batches to read, of which `start` needs all but the last `late`."""

    def __init__(self, batches: Sequence[RecordBatch], late: int) -> None:
        self.batches = list(batches)
        self.late = late
        self.is_started = False

    async def start(self) -> None:
        self.is_started = True

    async def has_caught_up(self) -> bool:
        return len(self.batches) <= self.late

    async def read(self, timeout_ms: int) -> list[RecordBatch]:
        assert self.is_started
        return [self.batches.pop(0)] if self.batches else []


def weights(offset: int, quality: Any, key: bytes | None = b"weights") -> StoredRecord:
    value = json.dumps({"value": {"quality": quality, "engagement": 1}}).encode()
    return StoredRecord(offset, key=key, value=value)


class Followed:
    """A follower over batches of `config`, and each state that it passed on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *batches: Sequence[StoredRecord], late: int = 0
    ) -> None:
        log = FakeLog([record_batch("config", records) for records in batches], late)
        monkeypatch.setattr(follower_module, "LogReader", lambda *_: log)
        self.states: list[Settings] = []
        self.follower = SettingsFollower(Environment(), self.states.append)
        asyncio.run(self.follower.start())

    @property
    def qualities(self) -> list[float]:
        return [state.weights_of("").objectives["quality"] for state in self.states]


def test_a_start_applies_all_records_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, [weights(0, 1), weights(1, 2)], [weights(2, 3)])
    assert followed.qualities == [2.0, 3.0]
    assert followed.follower.settings.offset == 2


def test_later_records_are_applied_when_it_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, [weights(0, 1)], [weights(1, 2)], late=1)
    assert followed.qualities == [1.0]
    assert asyncio.run(followed.follower.follow()) is True
    assert followed.qualities == [1.0, 2.0]


def test_nothing_is_passed_on_when_nothing_came(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch)
    assert asyncio.run(followed.follower.follow(timeout_ms=1)) is False
    assert followed.states == []


def test_a_refused_record_keeps_the_old_value_and_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed(monkeypatch, [weights(0, 1), weights(1, -1), weights(2, 3, b"\xff" * 300)])
    assert followed.qualities == [1.0]
    assert followed.follower.settings.offset == 2
    negative, nameless = followed.follower.refused
    assert (negative.key, negative.offset) == ("weights", 1)
    assert negative.reason == "Expected `float` >= 0.0 - at `$.value.quality`"
    assert (nameless.key, nameless.offset) == ("\ufffd" * 256, 2)
    assert followed.follower.refused_count == 2


def test_only_the_last_200_refusals_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, [weights(offset, -1) for offset in range(205)])
    assert [each.offset for each in followed.follower.refused] == list(range(5, 205))
    assert followed.follower.refused_count == 205
