"""How long the loop waits for which records, on a group of the test."""

import math
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from feedmill.streams.worker.worker import LOOK_OFTEN_S, OFTEN_FOR_S, Input, engagement_room


class Records:
    """A group, and a writer with room: of each topic in `came` there is a batch after a wait."""

    is_full = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.came = 100.0, ""
        self.waits: dict[str, float] = {}
        self.settings: Iterator[bool] = iter(())
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        records: Any = self
        self.input = Input(records, records, 2000, lambda: next(self.settings))

    def poll(self, _: int, wait_s: float) -> list[Any]:
        return self._take("posts", wait_s)

    def poll_beside(self, _: int, wait_s: float) -> list[Any]:
        return self._take("engagements", wait_s)

    def _take(self, topic: str, wait_s: float) -> list[Any]:
        self.now_s += wait_s
        if wait_s:
            self.waits[topic] = wait_s
        return [cast(Any, Batch)] if topic in self.came else []

    def wait_after(self, came: str) -> dict[str, float]:
        """How long the loop waits for each topic, and then has records of these topics."""
        self.came, self.waits, self.settings = came, {}, iter([False] * 9)
        self.input.take(0.004)
        return self.waits


class Batch:
    records = ()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    return Records(monkeypatch)


@pytest.mark.parametrize("looks", [[True], [False, False, True]])
def test_settings_end_a_wait_for_posts(records: Records, looks: list[bool]) -> None:
    records.settings = iter(looks)
    assert records.input.take(math.inf) == ([], [])
    assert next(records.settings, None) is None


def test_the_loop_waits_for_the_topic_that_brought_records_last(records: Records) -> None:
    wait_after = records.wait_after
    assert wait_after("engagements") == {"posts": 0.004}
    assert wait_after("") == {"engagements": LOOK_OFTEN_S}
    assert wait_after("posts engagements") == {}  # there were posts, so it waited for nothing
    assert wait_after("engagements") == {"posts": LOOK_OFTEN_S}
    assert wait_after("engagements") == {"engagements": LOOK_OFTEN_S}
    records.now_s += OFTEN_FOR_S
    assert wait_after("") == {"posts": 0.004}


def test_posts_leave_room_for_engagements_however_many_there_are() -> None:
    assert engagement_room(2000, 0) == 2000
    assert engagement_room(2000, 300) == 1700
    assert engagement_room(2000, 2000) == 500
    assert engagement_room(1, 1) == 1
