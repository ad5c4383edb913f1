"""Users that repeat themselves, against the definition: the same within the window and the day."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.engagement_log import START_MS, Event, Record, draw_log
from feedmill.events.engagement import Engagement
from feedmill.streams.kafka.topics import DAY_MS
from feedmill.streams.stages.user_filter import UserFilter

WINDOW = 40


def in_batches(users: UserFilter, log: list[Event], random: Random) -> list[bool]:
    """What repeats, noted in batches of one to many events."""
    found: list[bool] = []
    while len(found) < len(log):
        size = random.choice((1, 3, 15, 16, 100))
        found += users.repeats(log[len(found) : len(found) + size])
    return found


def by_definition(log: list[Event]) -> list[bool]:
    found = []
    for i, (record, event) in enumerate(log):
        since = (record.offset // WINDOW - 1) * WINDOW
        before = {
            (other.post_id, other.kind, other.user_id)
            for earlier, other in log[:i]
            if earlier.offset >= since and earlier.timestamp // DAY_MS == record.timestamp // DAY_MS
        }
        found.append((event.post_id, event.kind, event.user_id) in before)
    return found


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_a_user_repeats_who_did_the_same_on_that_day_within_the_window(seed: int) -> None:
    random = Random(seed)
    log = draw_log(random, 300)
    assert in_batches(UserFilter(WINDOW), log, random) == by_definition(log)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 299))
def test_the_log_from_the_first_offset_on_restores_it(seed: int, start: int) -> None:
    random = Random(seed)
    log = draw_log(random, 300)
    users = UserFilter(WINDOW)
    first = users.first_offset(log[start][0].offset)
    kept = [one for one in log if one[0].offset >= first]
    assert in_batches(users, kept, random)[start - 300 :] == by_definition(log)[start:]


def events(count: int, first: int = 0) -> list[Event]:
    return [
        (Record(i, START_MS, b""), Engagement("p", f"user-{i}", "like", START_MS))
        for i in range(first, first + count)
    ]


@pytest.mark.parametrize("size", [10, 2_000])
def test_hardly_any_new_user_counts_as_known(size: int) -> None:
    users, log = UserFilter(100_000), events(100_000)
    repeated = sum(sum(users.repeats(log[at : at + size])) for at in range(0, len(log), size))
    # The bar is 0.1 %; by 63 bits of hash it is less than one in 10**13.
    assert repeated == 0


def test_its_memory_is_bounded_by_the_window() -> None:
    users, most = UserFilter(20_000), 0
    for first in range(0, 200_000, 2_000):
        users.repeats(events(2_000, first))
        most = max(most, users.used_bytes)
    assert most / 40_000 <= 32
