"""Engagements that repeat others, against the definition, and restored from the log."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.engagement_log import START_MS, Event, Record, draw_log
from feedmill.events.engagement import Engagement
from feedmill.streams.engagement.repeated_engagements import (
    DEDUPLICATED_MS,
    RepeatedEngagements,
    Repetition,
)
from feedmill.streams.kafka.topic_table import DAY_MS

WINDOW = 40


def by_definition(log: list[Event]) -> list[Repetition]:
    found: list[Repetition] = []
    for i, (record, event) in enumerate(log):
        ids_ms = (record.timestamp // DEDUPLICATED_MS - 1) * DEDUPLICATED_MS
        ids = {
            (other.post_id, other.event_id)
            for earlier, other in log[:i]
            if earlier.timestamp >= ids_ms and other.event_id is not None
        }
        since = (record.offset // WINDOW - 1) * WINDOW
        users = {
            (other.post_id, other.kind, other.user_id)
            for earlier, other in log[:i]
            if earlier.offset >= since and earlier.timestamp // DAY_MS == record.timestamp // DAY_MS
        }
        is_user = (event.post_id, event.kind, event.user_id) in users
        is_id = (event.post_id, event.event_id) in ids
        found.append("repeated event" if is_id else "repeated user" if is_user else "")
    return found


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 149))
def test_what_repeats_follows_from_the_log_also_after_a_restart(seed: int, start: int) -> None:
    log = draw_log(Random(seed), 150)
    expected = by_definition(log)
    assert RepeatedEngagements(WINDOW).note(log) == expected
    restored = RepeatedEngagements(WINDOW)
    since_ms = restored.ids_since(log[start][0].timestamp)
    offset = restored.users_since(log[start][0].offset)
    restored.note(
        [one for one in log[:start] if one[0].timestamp >= since_ms or one[0].offset >= offset]
    )
    assert restored.note(log[start:]) == expected[start:]


def event(
    offset: int, at_ms: int = START_MS, user: str = "u", event_id: str | None = None
) -> Event:
    return Record(offset, at_ms, b"p"), Engagement("p", user, "like", at_ms, event_id)


@pytest.mark.parametrize("at_ms", [START_MS // DEDUPLICATED_MS * DEDUPLICATED_MS, START_MS])
def test_an_event_id_is_known_for_ten_to_twenty_minutes(at_ms: int) -> None:
    def repeats(gap_ms: int) -> bool:
        log = [event(0, at_ms, "u", "e"), event(1, at_ms + gap_ms, "v", "e")]
        return bool(RepeatedEngagements(WINDOW).note(log)[1])

    assert repeats(DEDUPLICATED_MS)
    assert not repeats(2 * DEDUPLICATED_MS)


def test_the_day_is_that_of_the_record() -> None:
    midnight_ms = (START_MS // DAY_MS + 1) * DAY_MS
    log = [event(0, midnight_ms - 2), event(1, midnight_ms - 1), event(2, midnight_ms)]
    assert RepeatedEngagements(WINDOW).note(log) == ["", "repeated user", ""]


@pytest.mark.parametrize(
    "other",
    [
        Engagement("q", "u", "like", START_MS, "e"),
        Engagement("p", "v", "like", START_MS),
        Engagement("p", "u", "click", START_MS),
    ],
)
def test_another_post_user_or_kind_is_no_repetition(other: Engagement) -> None:
    log = [event(0, event_id="e"), (Record(1, START_MS, b""), other)]
    assert RepeatedEngagements(WINDOW).note(log) == ["", ""]
