"""Words of texts: in ASCII as beyond it, and symbols only where there are some."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.filters.phrases import (
    has_symbols,
    phrase_words,
    readings,
    visible,
    words,
    words_and_symbols,
)

ascii_texts = st.text(st.characters(max_codepoint=127))


@given(ascii_texts)
def test_ascii_has_the_words_that_it_has_beside_other_letters(text: str) -> None:
    assert words(f"{text} \u00e9") == [*words(text), "\u00e9"]


@given(st.text().map(visible))
def test_a_text_without_symbols_has_its_words_only(text: str) -> None:
    if not has_symbols(text):
        assert words(text) == words_and_symbols(text)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("Free, Money!", (["free", "money"], False)),
        ("$cash", (["$", "cash"], True)),
        ("\u514d\u8d39", (["\u514d", "\u8d39"], False)),
        ("cafe\u0301", (["caf\u00e9"], False)),
        ("- ...", ([], False)),
    ],
)
def test_the_words_of_a_phrase(phrase: str, expected: tuple[list[str], bool]) -> None:
    assert phrase_words(phrase) == expected


def test_a_disguised_text_is_read_as_it_stands_and_undisguised() -> None:
    assert readings("plain words") == ("plain words",)
    assert readings("fr33 m0ney") == ("fr33 m0ney", "free money")
    assert readings("fr\u200bee") == ("free",)
