"""Which record ends a canary: the first one that does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders.records import StoredRecord
from feedmill.events.errors import BadEvent
from feedmill.events.release import ModelRelease
from feedmill.streams.releases.canary_fold import CanaryFold

A = "a" * 64
OTHER = ModelRelease("b" * 64, (0.5,))


def record(offset: int, **more: Any) -> StoredRecord:
    fields = {"sha256": A, "answers": [0.5], "partitions": 2, "after_ms": 1000, **more}
    return StoredRecord(offset, key=b"canary/spam", value=json.dumps(fields).encode())


def begun(offset: int = 3) -> CanaryFold:
    fold = CanaryFold(("spam", "quality"))
    assert fold.take(record(offset)) == "spam"
    current = fold.current("spam")
    assert current is not None
    assert (current.offset, current.canary.partitions) == (offset, 2)
    return fold


def test_a_release_of_the_model_ends_its_canary_and_one_of_another_does_not() -> None:
    fold = begun()
    fold.take_release("quality", OTHER)
    assert fold.current("spam") is not None
    fold.take_release("spam", None)
    assert fold.last("spam") is None


def test_an_empty_record_and_another_canary_end_it() -> None:
    fold = begun()
    fold.take(record(5))
    current = fold.current("spam")
    assert current is not None
    assert current.offset == 5
    fold.take(StoredRecord(6, key=b"canary/spam", value=b""))
    assert fold.last("spam") is None


def test_an_alarm_ends_it_and_is_known_until_the_next_release() -> None:
    fold = begun()
    fold.take(record(4, ends=3, reason="it says nan"))
    assert fold.current("spam") is None
    last = fold.last("spam")
    assert last is not None
    assert (last.offset, last.reason, last.is_under_way) == (3, "it says nan", False)
    fold.take_release("spam", OTHER)
    assert fold.last("spam") is None


def test_of_promotion_and_alarm_the_first_counts() -> None:
    promotion = ModelRelease(A, (0.5,), canary=3)
    fold = begun()
    fold.take(record(4, ends=3, reason="r"))
    with pytest.raises(BadEvent, match="the canary of `spam` that began at 3 is not under way"):
        fold.take_release("spam", promotion)
    fold = begun()
    fold.take_release("spam", promotion)
    with pytest.raises(BadEvent, match="not under way"):
        fold.take(record(5, ends=3, reason="r"))
    fold = begun(4)
    with pytest.raises(BadEvent, match="began at 3"):
        fold.take_release("spam", promotion)
    assert fold.current("spam") is not None
