"""The spam lexicon that ships: terms of every kind, found in texts written for this test."""

import numpy as np
import pytest

from feedmill.features.text.lexicon import LEXICON_COLUMNS, LEXICON_KINDS, lexicon_matrix
from feedmill.features.text.ngrams import TextBatch

TEXTS = {
    "action": "Click here and subscribe",
    "promotion": "Look at my channel and my new video",
    "money": "A free prize and extra money",
    "urgency": "Hurry, only today",
    "selected": "Congratulations, you were selected",
    "contact": "Send an sms or an email",
    "bait": "Thumbs up if you like this",
    "adult": "Hot singles and nude babes",
}


def columns_of(text: str) -> dict[str, float]:
    (row,) = lexicon_matrix(TextBatch([text])).tolist()
    return dict(zip(LEXICON_COLUMNS, row, strict=True))


def test_there_is_a_text_for_every_kind() -> None:
    assert tuple(TEXTS) == LEXICON_KINDS


@pytest.mark.parametrize("kind", LEXICON_KINDS)
def test_terms_of_a_kind_are_counted_as_that_kind(kind: str) -> None:
    columns = columns_of(TEXTS[kind])
    of_kind = {other: columns[f"cues_{other}"] for other in LEXICON_KINDS}
    # Two terms or more, of which log1p is taken.
    assert of_kind[kind] >= np.log1p(2) - 1e-6
    assert max(of_kind, key=lambda other: of_kind[other]) == kind
    assert columns["cues"] >= of_kind[kind]


def test_an_ordinary_sentence_holds_no_term() -> None:
    assert set(columns_of("We walked along the river and saw a heron").values()) == {0.0}
