"""Words of texts: in ASCII as beyond it, and symbols only where there are some."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.text.byte_rows import CHUNK_BYTES
from feedmill.filters.phrases import (
    PhraseKeys,
    RunFinder,
    has_symbols,
    keys_of,
    line_with_symbols,
    phrase_words,
    readings,
    visible,
    words,
)

ascii_texts = st.text(st.characters(max_codepoint=127))


@given(ascii_texts)
def test_ascii_has_the_words_that_it_has_beside_other_letters(text: str) -> None:
    assert words(f"{text} \u00e9") == [*words(text), "\u00e9"]


@given(st.text().map(visible))
def test_a_text_without_symbols_has_its_words_only(text: str) -> None:
    if not has_symbols(text):
        assert words(text) == line_with_symbols(text).split()


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


NO_COUNTS = np.zeros(0, dtype=np.uint8)


def phrase_keys(*phrases: bytes) -> PhraseKeys:
    counts = np.unique([phrase.count(b" ") + 1 for phrase in phrases]).astype(np.uint8)
    return PhraseKeys(np.unique(keys_of(phrases)), counts, NO_COUNTS)


def found_in(texts: list[str], keys: PhraseKeys) -> list[tuple[int, bytes]]:
    return sorted(
        pair
        for runs in RunFinder([keys]).runs(texts)
        for pair in runs.phrases(keys.find(runs.keys))
    )


def test_each_run_is_found_once_a_text_and_none_across_two_texts() -> None:
    keys = phrase_keys(b"a b", b"c", b"b c d")
    texts = ["a b x a b", "b c", "d", "", "b c d"]
    assert found_in(texts, keys) == [(0, b"a b"), (1, b"c"), (4, b"b c d"), (4, b"c")]


def test_runs_are_found_in_every_chunk_of_many_texts() -> None:
    keys = phrase_keys(b"a b")
    filler = "x " * 5_000
    texts = [f"{filler} a b" for _ in range(3 * CHUNK_BYTES // len(filler))]
    assert found_in(texts, keys) == [(row, b"a b") for row in range(len(texts))]
