from itertools import pairwise

import numpy as np
import pytest

from feedmill.features.text.lexicon import (
    LEXICON_COLUMNS,
    LEXICON_KINDS,
    lexicon_matrix,
    lexicon_of,
    parse_terms,
    spam_lexicon,
)
from feedmill.features.text.ngrams import TextBatch


def test_words_and_neighbouring_words_are_counted_by_kind() -> None:
    lexicon = lexicon_of([["money", "free money"], ["check out"]])
    counts = lexicon.counts(TextBatch(["Free MONEY, money!", "check it out", "check out", ""]))
    np.testing.assert_array_equal(counts, [[3, 0], [0, 0], [0, 1], [0, 0]])


def test_counts_are_those_of_plain_python() -> None:
    random = np.random.default_rng(5)
    words = ["alpha", "beta", "gamma", "delta", "it's"]
    texts = [" ".join(random.choice(words, random.integers(0, 12))) for _ in range(300)]
    lexicon = lexicon_of([["alpha", "beta gamma"], ["it's"]])
    expected = []
    for text in texts:
        parts = text.split()
        pairs = [" ".join(pair) for pair in pairwise(parts)]
        expected.append([parts.count("alpha") + pairs.count("beta gamma"), parts.count("it's")])
    np.testing.assert_array_equal(lexicon.counts(TextBatch(texts)), expected)
    for text, row in zip(texts, expected, strict=True):
        np.testing.assert_array_equal(lexicon.counts(TextBatch([text])), [row])


def test_a_term_may_leave_one_word_open() -> None:
    texts = ["check this out", "check out", "check this one out", "go check", "it out"]
    counts = lexicon_of([["check _ out"]]).counts(TextBatch(texts))
    np.testing.assert_array_equal(counts[:, 0], [1, 0, 0, 0, 0])


@pytest.mark.parametrize("term", ["one two three", "one _ two three", ""])
def test_other_terms_are_refused(term: str) -> None:
    with pytest.raises(ValueError, match=f"term '{term}': expected one word, two, or two with"):
        lexicon_of([[term]])


def test_the_list_that_ships_has_terms_of_every_kind() -> None:
    text = "# a comment\n[money]  of money\nfree, cash\nprize\n\n[bait]\nlike this\n"
    assert parse_terms(text, ("money", "bait")) == [["free", "cash", "prize"], ["like this"]]
    assert spam_lexicon().kinds == len(LEXICON_KINDS)


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
