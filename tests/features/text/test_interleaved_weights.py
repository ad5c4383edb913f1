from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.drawn_texts import TEXTS
from feedmill.features.text.interleaved_weights import LANES, InterleavedWeights
from feedmill.features.text.ngrams import BUCKETS, TextBatch

RANDOM = np.random.default_rng(1)


def table(*models: int, dtype: type[np.signedinteger] = np.int16) -> npt.NDArray[np.signedinteger]:
    return RANDOM.integers(-4095, 4096, (*models, BUCKETS), dtype=dtype)


# Three models, three joined in one array, and one of another type, which has no lane.
TABLES = [table(), table(), table(), table(3), table(dtype=np.int32)]


def read_all(
    tables: Sequence[npt.NDArray[np.signedinteger]],
    texts: Sequence[str],
    interleaved: InterleavedWeights | None,
    factor: int = 3,
) -> list[list[int]]:
    batch = TextBatch(texts, interleaved)
    return [batch.weighted_sums(one, factor).ravel().tolist() for one in tables]


def lanes_of(interleaved: InterleavedWeights, tables: Sequence[object]) -> list[object]:
    lanes = interleaved.layout().lanes
    return [lanes.get(id(one)) for one in tables]


SHARED = InterleavedWeights()
read_all(TABLES, ["a text"], SHARED)
read_all(TABLES, ["a text"], SHARED)


@settings(max_examples=150)
@given(TEXTS, st.integers(min_value=1, max_value=7))
def test_sums_are_those_of_each_table_by_itself(texts: list[str], factor: int) -> None:
    assert lanes_of(SHARED, TABLES) == [0, 1, 2, slice(3, 6), None]
    assert read_all(TABLES, texts, SHARED, factor) == read_all(TABLES, texts, None, factor)
    for text in texts:
        alone = read_all(TABLES, [text], None, factor)
        assert read_all(TABLES, [text], SHARED, factor) == alone


@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_texts_of_largest_weights_do_not_overflow(sign: int) -> None:
    # Four bytes a character, and a word of each: the most tokens a text can have.
    texts = ["𐍈" * 20_000, "a " * 10_000, "", "short"]
    largest = [np.full(BUCKETS, sign * 4095, dtype=np.int16) for _ in range(LANES)]
    interleaved = InterleavedWeights()
    read_all(largest, ["a text"], interleaved)
    batch = TextBatch(texts, interleaved)
    sums = batch.weighted_sums(largest[-1])
    assert lanes_of(interleaved, largest) == [*range(LANES)]
    assert len(batch.chunks) > 1
    np.testing.assert_array_equal(sums, sign * 4095 * batch.token_counts())


def test_tables_are_laid_out_once_a_batch_has_asked_for_them() -> None:
    interleaved = InterleavedWeights()
    assert lanes_of(interleaved, TABLES) == [None] * 5
    read_all(TABLES, ["a text"], interleaved)
    read_all(TABLES, ["a text"], interleaved)
    layout = interleaved.layout()
    assert layout.lanes
    # As long as all that is asked for has a lane, or never will, nothing is copied again.
    for tables in (TABLES, TABLES[:2], TABLES):
        read_all(tables, ["a text"], interleaved)
        assert interleaved.layout() is layout


def test_few_tables_are_read_where_they_are() -> None:
    interleaved = InterleavedWeights()
    for _ in range(2):
        read_all([TABLES[3]], ["a text"], interleaved)
    assert lanes_of(interleaved, TABLES) == [None] * 5


def test_a_released_table_takes_the_place_of_another() -> None:
    texts, released = ["one text", "and another one"], [table(3), *TABLES[:4]]
    interleaved = InterleavedWeights()
    read_all(TABLES, texts, interleaved)
    before = TextBatch(texts, interleaved)
    before.weighted_sums(TABLES[0])
    # Both versions in one batch: more lanes than there are, so that one of them is read by itself.
    both = [*TABLES, *released]
    expected = read_all(both, texts, None)
    for _ in range(3):
        assert read_all(both, texts, interleaved) == expected
    assert lanes_of(interleaved, [TABLES[3], released[0]]) == [slice(3, 6), None]
    read_all(released, texts, interleaved)
    read_all(released, texts, interleaved)
    assert lanes_of(interleaved, released) == [slice(0, 3), 3, 4, 5, None]
    assert read_all(released, texts, interleaved) == read_all(released, texts, None)
    # A batch keeps the lanes that its sums were made of.
    for one in TABLES[:4]:
        same = TextBatch(texts).weighted_sums(one)
        np.testing.assert_array_equal(before.weighted_sums(one), same)
