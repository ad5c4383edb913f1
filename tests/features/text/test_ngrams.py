import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.drawn_texts import TEXTS
from feedmill.features.text.ngrams import BUCKETS, TextBatch, five_grams
from feedmill.features.text.normalise import normalise
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix

TABLE = np.random.default_rng(1).integers(-4095, 4096, BUCKETS, dtype=np.int32)

# FREE in mathematical bold letters.
BOLD = "\U0001d405\U0001d411\U0001d404\U0001d404"


@settings(max_examples=150)
@given(TEXTS, st.integers(min_value=1, max_value=5))
def test_a_row_does_not_depend_on_its_batch(texts: list[str], size: int) -> None:
    whole = TextBatch(texts)
    sums, sizes, shape = whole.weighted_sums(TABLE), whole.token_counts(), shape_matrix(whole)
    assert shape.shape == (len(texts), len(SHAPE_COLUMNS))
    assert np.isfinite(shape).all()
    assert (sizes >= 2).all()
    for begin in range(0, len(texts), size):
        part = TextBatch(texts[begin : begin + size])
        rows = slice(begin, begin + size)
        np.testing.assert_array_equal(part.weighted_sums(TABLE), sums[rows])
        np.testing.assert_array_equal(part.token_counts(), sizes[rows])
        np.testing.assert_array_equal(shape_matrix(part), shape[rows])


@settings(max_examples=100)
@given(TEXTS, st.integers(min_value=1, max_value=7))
def test_sums_are_those_of_each_token_and_words_count_more(texts: list[str], factor: int) -> None:
    batch = TextBatch(texts)
    expected = [
        sum(
            int(TABLE[token]) * (factor if block.words else 1)
            for block in chunk.blocks
            for token in block.tokens[block.starts[row] : block.ends[row]].tolist()
        )
        for chunk in batch.chunks
        for row in range(len(chunk))
    ]
    assert batch.weighted_sums(TABLE, factor).tolist() == expected
    tables = np.array([TABLE, -TABLE])
    for text, total in zip(texts, expected, strict=True):
        assert TextBatch([text]).weighted_sums(tables, factor).tolist() == [[total], [-total]]


@settings(max_examples=100)
@given(TEXTS)
def test_5_grams_alone_are_those_that_models_read(texts: list[str]) -> None:
    alone, read = [*five_grams(texts)], [*TextBatch(texts).five_grams]
    assert sum(len(one.rows) for one in alone) == len(texts)
    for one, other in zip(alone, read, strict=True):
        assert one.rows.ends.tolist() == other.rows.ends.tolist()
        assert one.rows.buffer.tobytes() == other.rows.buffer.tobytes()
        assert one.tokens.tolist() == other.tokens.tolist()


def test_models_that_share_a_batch_share_its_shape() -> None:
    batch = TextBatch(["one text", "another"])
    assert shape_matrix(batch) is shape_matrix(batch)


def test_long_texts_are_split_into_chunks_without_a_difference() -> None:
    texts = ["word " * 3_000, "", "é" * 25_000, "x" * 20_000, "\U0001d518" * 20_000, "short"] * 2
    whole = TextBatch(texts)
    assert len(whole.chunks) > 2
    alone = np.concatenate([TextBatch([text]).weighted_sums(TABLE) for text in texts])
    np.testing.assert_array_equal(whole.weighted_sums(TABLE), alone)


def test_the_longest_text_of_largest_weights_does_not_overflow() -> None:
    # Four bytes a character, and a word of each: the most tokens a text can have.
    table = np.full(BUCKETS, 4095, dtype=np.int32)
    for text in ("𐍈" * 20_000, "a " * 10_000):
        batch = TextBatch([text])
        assert batch.weighted_sums(table)[0] == 4095 * batch.token_counts()[0]


def _tokens(text: str) -> list[set[int]]:
    (chunk,) = TextBatch([text]).chunks
    return [set(b.tokens[b.starts[0] : b.ends[0]].tolist()) for b in chunk.blocks]


def test_words_and_pairs_are_hashed_by_content_not_by_place() -> None:
    *_, words, pairs = _tokens("red fish")
    *_, more_words, more_pairs = _tokens("one... red fish, blue")
    assert words <= more_words
    assert pairs <= more_pairs
    assert len(words) == 2 and len(pairs) == 1
    assert not pairs & _tokens("fish red")[4]


def test_characters_are_hashed_in_threes_fours_and_fives() -> None:
    assert [len(block) for block in _tokens("abc")[:3]] == [5, 5, 5]  # a blank on either side
    for block, inner in zip(_tokens("xxabcdexx")[:3], _tokens("abcde")[:3], strict=True):
        assert block & inner


def test_case_digits_and_blanks_are_folded() -> None:
    assert _tokens("CALL 0800\tÉTÉ") == _tokens("call 1234 été")
    assert normalise(f"{BOLD}\u200b!") == "FREE!"


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        ("log_exclamation", "win!!!", "win"),
        ("share_upper", "WIN", "win"),
        ("log_caps_word", "WIN BIG now", "Win Big now"),
        ("log_repeat", "soooo", "so so"),
        ("log_link", "see https://a.org www.b.org", "see a"),
        ("log_dot_com", "a.com", "a com"),
        ("log_mention", "hi @ann", "a@b"),
        ("log_hashtag", "#one #two", "one#"),
        ("log_long_number", "call 0800123456", "call 0800"),
        ("log_letter_word", "f r", "free"),
        ("log_list_number", "7 ways", "ways 7"),
        ("starts_upper", "A", "a"),
    ],
)
def test_shape_sees(name: str, more: str, less: str) -> None:
    column = shape_matrix(TextBatch([more, less]))[:, SHAPE_COLUMNS.index(name)]
    assert column[0] > column[1]


def test_equal_hashes_make_few_collisions() -> None:
    words = [f"w{a}{b}" for a in "abcdefghij" for b in "klmnopqrstuvwxyz"]
    tokens = {next(iter(_tokens(word)[3])) for word in words}
    assert len(tokens) >= len(words) - 2
