"""Signatures estimate similarity, and similar texts share a bucket."""

from random import Random

import numpy as np
import pytest

from feedmill.events.post import Post
from feedmill.features.minhash import (
    BANDS,
    BUCKET_BITS,
    consensus,
    differ_much,
    is_long_enough,
    minhash,
    similarity,
)
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import five_grams

WORDS = [
    f"{a}{b}{c}" for a in ("ba", "tor", "lin") for b in ("ke", "mu", "ra", "so") for c in "nptwz"
]


def jaccard(one: str, other: str) -> float:
    a, b = ({f" {t} "[i : i + 5] for i in range(len(t) - 2)} for t in (one, other))
    return len(a & b) / len(a | b)


def drawn(seed: int, count: int = 20) -> list[str]:
    return list(np.random.default_rng(seed).choice(WORDS, count))


def changed(words: list[str], changes: int, seed: int) -> str:
    random, words = np.random.default_rng(seed), list(words)
    for at in random.choice(len(words), changes, replace=False):
        words[at] = "".join(random.permutation(list("qxyvjgh")))
    return " ".join(words)


def test_similarity_is_that_of_the_5_grams_on_average() -> None:
    ones, others, exact = [], [], []
    for seed in range(200):
        words = drawn(seed)
        ones.append(" ".join(words))
        others.append(changed(words, seed % 12, seed))
        exact.append(jaccard(ones[-1], others[-1]))
    a, b = minhash(five_grams(ones))[0], minhash(five_grams(others))[0]
    error = similarity(a, b) - np.array(exact)
    assert abs(error.mean()) < 0.02
    assert error.std() < 0.09


def test_similar_texts_share_a_bucket_and_others_rarely_do() -> None:
    texts = [" ".join(drawn(seed)) for seed in range(300)]
    copies = [changed(drawn(seed), 2, seed) for seed in range(300)]
    _, here, _ = minhash(five_grams(texts))
    _, there, _ = minhash(five_grams(copies))
    assert here.shape == (300, BANDS)
    assert (here < BANDS << BUCKET_BITS).all()
    assert ((here == there).any(axis=1)).mean() > 0.98
    assert ((here == np.roll(there, 1, axis=0)).any(axis=1)).mean() < 0.2


def test_case_and_digits_make_no_difference_and_rows_do_not_depend_on_others() -> None:
    one = "Only 17 tickets are left for the summer concert at the lake, be quick about it"
    other = one.upper().replace("17", "23")
    together = minhash(five_grams([one, "x " * 40, other, "y"]))[0]
    assert (together[0] == together[2]).all()
    assert (together[0] == minhash(five_grams([one]))[0][0]).all()


def test_the_consensus_of_varied_copies_is_near_their_origin() -> None:
    words = drawn(3)
    origin = minhash(five_grams([" ".join(words)]))[0]
    copies = minhash(five_grams([changed(words, 4, seed) for seed in range(15)]))[0]
    near = similarity(np.repeat(consensus(copies), len(copies), axis=0), copies)
    among = similarity(copies, np.roll(copies, 1, axis=0))
    assert similarity(consensus(copies), origin)[0] > 0.9
    assert near.mean() > among.mean() + 0.1


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        ("good morning everybody", False),
        ("post number 17 about gardening", False),
        ("https://a.example/one/two/three/four/five/six/seven/eight/nine/ten/eleven", False),
        ("a b c d e f g h i j k l", False),
        ("ten words are enough if they are not all that short", True),
        ("今天的天气非常好我们一起去公园散步吧" * 3, True),
        ("今天的天气非常好", False),
    ],
)  # fmt: skip
def test_short_texts_are_not_compared(text: str, enough: bool) -> None:
    assert is_long_enough(text) == enough


def test_texts_of_few_different_n_grams_are_not_compared() -> None:
    texts = ["\U0001f600 " * 80, "ha " * 80, "ten words are enough if they are not all that short"]
    assert minhash(five_grams(texts))[2].tolist() == [False, False, True]
    assert minhash(five_grams([]))[0].shape[0] == 0


ONE_STOCK = [f"{a}{b}{c}" for a in ("ka", "lo", "mi") for b in ("ten", "sor") for c in "abcdefghij"]
OTHER_STOCK = [f"{a}{b}{c}" for a in ("qu", "ze", "xy") for b in ("ind", "gau") for c in "mnopqrst"]


def sketch(text: str) -> int:
    return PostBatch([Post("p", "a", 1, text), Post("q", "a", 1, "another")]).sketches[0]


@pytest.mark.parametrize("words", [4, 12, 60])
def test_a_rewrite_differs_much_and_a_correction_does_not(words: int) -> None:
    random = Random(words)
    kept = 0
    for _ in range(200):
        before = [random.choice(ONE_STOCK) for _ in range(words)]
        after = [
            *before[: words - words // 4 // 2],
            *random.choices(OTHER_STOCK, k=words // 4 // 2),
        ]
        kept += not differ_much(sketch(" ".join(before)), sketch(" ".join(after) + "!"))
        other = " ".join(random.choice(OTHER_STOCK) for _ in range(words))
        assert differ_much(sketch(" ".join(before)), sketch(other))
    assert kept >= 190  # the fewest words, the most mistakes


def test_a_text_without_letters_differs_from_none() -> None:
    assert sketch("") == 0
    assert not differ_much(sketch(""), sketch("some words of a text"))
