import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS, shape_matrix


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("see shop.example.COM and www.example.co.uk/x", 3),
        ("Incmedia.org", 1),
        ("the end.Next one. com", 0),
        (".com", 0),
        ("com", 0),
        ("", 0),
    ],
)
def test_addresses_without_a_scheme_are_counted_by_their_ends(text: str, addresses: int) -> None:
    row = shape_matrix(TextBatch([text]))[0]
    assert row[SHAPE_COLUMNS.index("log_domain")] == np.float32(np.log1p(addresses))


# What the columns count, and what nearly looks like it.
PIECES = (
    *("@", "@ab", "a@b", "#", "#ab", "##a", "@@a", ".", "...", "!!!!", "aaa", "   ", "\n"),
    *("http://", "HTTP", "www.", "WWW\x0e", ".com", ".COM", "\x0ecom", "a.co.uk", "b.COM", ".comx"),
    *("A", "AB", "AB1", "a", "1", "12", "1234567", "123456", "1234567x", "'", "_", "x" * 15, " "),
    *(" ", "é", "ÉÉÉ", "漢字", "😀", "$%", "(-)", "\0\0\0", "\x7f\x7f\x7f", "a" * 600),
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a_text_by_itself_has_the_shape_that_it_has_among_others(text: str) -> None:
    alone, among = TextBatch([text]), TextBatch(["a b", text, ""])
    np.testing.assert_array_equal(shape_matrix(alone)[0], shape_matrix(among)[1])


@pytest.mark.parametrize("count", [1_980, 1_992, 1_993, 1_994, 2_020])
def test_so_has_a_text_that_is_about_too_long_to_be_counted_by_itself(count: int) -> None:
    text = ("See a.com, 10 times!!! " * 100)[:count]
    among = shape_matrix(TextBatch(["a b", text]))
    np.testing.assert_array_equal(shape_matrix(TextBatch([text]))[0], among[1])
