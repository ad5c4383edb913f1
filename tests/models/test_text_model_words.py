from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.models.text_model import NgramModel, word_parts

RANDOM = np.random.default_rng(4)
MODEL = NgramModel(RANDOM.integers(-4095, 4096, BUCKETS).astype(np.int32), 1e-3, 0.25, 3)
TEXTS = (
    *("", "???", "Free money now", "Übergrößen für Straße, ẞß İstanbul", "naïve café d'or fr€e"),
    *("a" * 40, "s u b s c r i b e now my friends", "word " * 2_000, "ﬁne ﬂow \u200bhidden"),
)


@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_of_the_words_add_up_to_the_score(text: str) -> None:
    (score,) = MODEL.score(TextBatch([text]))
    assert fsum(word_parts(MODEL, text).values()) == pytest.approx(score - MODEL.bias, abs=1e-9)


@given(st.text(max_size=60))
def test_so_do_those_of_any_text(text: str) -> None:
    (score,) = MODEL.score(TextBatch([text]))
    assert fsum(word_parts(MODEL, text).values()) == pytest.approx(score - MODEL.bias, abs=1e-9)


def test_a_word_gets_the_part_of_its_own_tokens() -> None:
    chunk = TextBatch(["lottery"]).chunks[0]
    weights = np.zeros(BUCKETS, np.int32)
    for block in chunk.blocks:
        weights[block.tokens[block.starts[0] : block.ends[0]]] = 100
    parts = word_parts(NgramModel(weights, 1.0, 0.0), "A lottery in town, LOTTERY!")
    assert list(parts) == ["a", "lottery", "in", "town"]
    assert parts["lottery"] > 10 * max(parts["a"], parts["in"], parts["town"])
