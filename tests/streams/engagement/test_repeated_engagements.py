"""Engagements that repeat others, against the definition, and restored from the log."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from builders.engagement_log import Event, draw_log
from builders.mapped import mapped_bytes
from feedmill.streams.engagement.repeated_engagements import (
    DEDUPLICATED_MS,
    KEY_BITS,
    RepeatedEngagements,
    RepeatFilter,
    Repetition,
)
from feedmill.streams.kafka.topic_table import DAY_MS

WINDOW = 40
Key = tuple[int, int]


def by_definition(log: list[Event]) -> list[Repetition]:
    found: list[Repetition] = []
    for i, (record, event) in enumerate(log):
        ids_ms = (record.timestamp // DEDUPLICATED_MS - 1) * DEDUPLICATED_MS
        ids = {
            (other.post_id, other.user_id, other.event_id)
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
        seen = {
            (other.post_id, other.user_id)
            for earlier, other in log[:i]
            if earlier.offset >= since and other.kind == "impression"
            if 0 <= record.timestamp // DAY_MS - earlier.timestamp // DAY_MS <= 1
        }
        is_complaint = event.kind in ("hide", "report")
        is_unseen = is_complaint and (event.post_id, event.user_id) not in seen
        is_id = (event.post_id, event.user_id, event.event_id) in ids
        of_user: Repetition = "unseen" if is_unseen else "repeated user" if is_user else ""
        found.append("repeated event" if is_id else of_user)
    return found


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 149))
def test_what_repeats_follows_from_the_log_also_after_a_restart(seed: int, start: int) -> None:
    log = draw_log(Random(seed), 150)
    expected = by_definition(log)
    assert RepeatedEngagements(WINDOW).add(log)[0] == expected
    restored = RepeatedEngagements(WINDOW)
    since_ms = restored.ids_since(log[start][0].timestamp)
    offset = restored.users_since(log[start][0].offset)
    restored.add(
        [one for one in log[:start] if one[0].timestamp >= since_ms or one[0].offset >= offset]
    )
    assert restored.add(log[start:])[0] == expected[start:]


# --- keys in generations --------------------------------------------------------------------


def noted(known: RepeatFilter, keys: list[Key]) -> list[bool]:
    return known.repeats([key for _, key in keys], [generation for generation, _ in keys])


def draw_keys(random: Random, count: int) -> list[Key]:
    """Keys of which many share their high bits, in generations of some ten."""
    generation, keys = 0, []
    for _ in range(count):
        generation += random.choices((0, 1, 2, 7), (90, 8, 1, 1))[0]
        keys.append((generation, random.randrange(8) << 31 | random.randrange(8)))
    return keys


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_key_repeats_that_came_in_this_generation_or_the_one_before(seed: int) -> None:
    random = Random(seed)
    keys = draw_keys(random, 200)
    known, found = RepeatFilter(), list[bool]()
    while len(found) < len(keys):
        size = random.choice((1, 3, 15, 16, 100))
        found += noted(known, keys[len(found) : len(found) + size])
    assert found == [
        any(earlier >= generation - 1 and other == key for earlier, other in keys[:i])
        for i, (generation, key) in enumerate(keys)
    ]


def test_a_generation_that_comes_back_counts_as_the_last_one() -> None:
    known = RepeatFilter()
    assert noted(known, [(5, 1), (4, 2), (6, 3)]) == [False, False, False]
    assert noted(known, [(6, 1), (5, 2), (7, 2)]) == [True, True, True]


def test_one_generation_far_ahead_latches_nothing() -> None:
    known = RepeatFilter()
    assert noted(known, [(5, 1), (9_000, 2), (5, 3), (5, 2)]) == [False, False, False, True]
    # Generations go on to turn, and what is older than two of them is forgotten.
    assert noted(known, [(6, 3), (7, 3), (7, 2)]) == [True, True, False]


def test_no_new_key_counts_as_known_and_memory_is_that_of_two_generations() -> None:
    random, known, most = Random(1), RepeatFilter(), 0
    for generation in range(10):
        for size in (10, 9_990, 10_000):
            # By 63 bits it is less than one in 10**13.
            keys = [(generation, random.getrandbits(KEY_BITS)) for _ in range(size)]
            assert not any(noted(known, keys))
        most = max(most, mapped_bytes(known))
    assert most / 40_000 <= 32
