"""Keys find the runs of words that phrases have, wherever they stand."""

import numpy as np

from feedmill.features.text.byte_rows import CHUNK_BYTES
from feedmill.filters.phrases import PhraseKeys, RunFinder, keys_of

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
