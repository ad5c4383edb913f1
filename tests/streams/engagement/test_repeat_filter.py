"""Keys that come again, against the definition: known in the present or the former generation."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.streams.engagement.repeat_filter import KEY_BITS, RepeatFilter

Key = tuple[int, int]


def noted(known: RepeatFilter, keys: list[Key]) -> list[bool]:
    return known.repeats([key for _, key in keys], [generation for generation, _ in keys])


def draw_keys(random: Random, count: int) -> list[Key]:
    """Keys of which many share their high bits, in generations of some ten."""
    generation, keys = 0, []
    for _ in range(count):
        generation += random.choices((0, 1, 2, 7), (90, 8, 1, 1))[0]
        keys.append((generation, random.randrange(8) << 31 | random.randrange(8)))
    return keys


def in_batches(keys: list[Key], random: Random) -> list[bool]:
    """What repeats, noted in batches of one to many keys."""
    known, found = RepeatFilter(), list[bool]()
    while len(found) < len(keys):
        size = random.choice((1, 3, 15, 16, 100))
        found += noted(known, keys[len(found) : len(found) + size])
    return found


def by_definition(keys: list[Key]) -> list[bool]:
    return [
        any(earlier >= generation - 1 and other == key for earlier, other in keys[:i])
        for i, (generation, key) in enumerate(keys)
    ]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_key_repeats_that_came_in_this_generation_or_the_one_before(seed: int) -> None:
    random = Random(seed)
    keys = draw_keys(random, 200)
    assert in_batches(keys, random) == by_definition(keys)


def test_a_generation_that_comes_back_counts_as_the_last_one() -> None:
    known = RepeatFilter()
    assert noted(known, [(5, 1), (4, 2), (6, 3)]) == [False, False, False]
    assert noted(known, [(6, 1), (5, 2), (7, 2)]) == [True, True, True]


def test_one_generation_far_ahead_latches_nothing() -> None:
    known = RepeatFilter()
    assert noted(known, [(5, 1), (9_000, 2), (5, 3), (5, 2)]) == [False, False, False, True]
    # Generations go on to turn, and what is older than two of them is forgotten.
    assert noted(known, [(6, 3), (7, 3), (7, 2)]) == [True, True, False]


@pytest.mark.parametrize("size", [10, 2_000])
def test_hardly_any_new_key_counts_as_known(size: int) -> None:
    random, known, repeated = Random(1), RepeatFilter(), 0
    for _ in range(100_000 // size):
        repeated += sum(noted(known, [(0, random.getrandbits(KEY_BITS)) for _ in range(size)]))
    # The bar is 0.1 %; by 63 bits it is less than one in 10**13.
    assert repeated == 0


def test_its_memory_is_that_of_two_generations() -> None:
    random, known, most = Random(1), RepeatFilter(), 0
    for generation in range(10):
        for _ in range(10):
            noted(known, [(generation, random.getrandbits(KEY_BITS)) for _ in range(2_000)])
            most = max(most, known.used_bytes)
    assert most / 40_000 <= 32
