"""Keys find the runs of words that phrases have, wherever they stand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.text.byte_hashes import CHUNK_BYTES
from feedmill.filters.phrase_keys import PhraseKeys, RunFinder, keys_of

some_keys = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30, unique=True)
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


@given(some_keys, some_keys)
def test_a_key_is_found_if_and_only_if_it_is_there(there: list[int], others: list[int]) -> None:
    keys = PhraseKeys(np.array(sorted(there), dtype=np.uint64), NO_COUNTS, NO_COUNTS)
    asked = np.array([*there, *others], dtype=np.uint64)
    expected = [at for at, key in enumerate(asked.tolist()) if key in set(there)]
    assert keys.find(asked.reshape(1, -1)).tolist() == expected


def test_each_run_is_found_once_a_text_and_none_across_two_texts() -> None:
    keys = phrase_keys(b"a b", b"c", b"b c d")
    texts = ["a b x a b", "b c", "d", "", "b c d"]
    assert found_in(texts, keys) == [(0, b"a b"), (1, b"c"), (4, b"b c d"), (4, b"c")]


def test_runs_are_found_in_every_chunk_of_many_texts() -> None:
    keys = phrase_keys(b"a b")
    filler = "x " * 5_000
    texts = [f"{filler} a b" for _ in range(3 * CHUNK_BYTES // len(filler))]
    assert found_in(texts, keys) == [(row, b"a b") for row in range(len(texts))]


def test_the_keys_of_many_phrases_are_those_of_each() -> None:
    phrases = [f"phrase number {number}".encode() * 3 for number in range(3_000)]
    assert keys_of(phrases).tolist() == [int(keys_of([one])[0]) for one in phrases]
    assert len(keys_of([])) == 0
    assert len(set(keys_of(phrases).tolist())) == len(phrases)
