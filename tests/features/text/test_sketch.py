from random import Random

import pytest

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.sketch import differ_much, sketches

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi") for b in ("ten", "sor") for c in "abcdefghij"]
OTHERS = [f"{a}{b}{c}" for a in ("qu", "ze", "xy") for b in ("ind", "gau") for c in "mnopqrst"]


def sketch(text: str) -> int:
    return sketches(PostBatch([Post("p", "a", 1, text), Post("q", "a", 1, "another")]))[0]


@pytest.mark.parametrize("words", [4, 12, 60])
def test_a_rewrite_differs_much_and_a_correction_does_not(words: int) -> None:
    random = Random(words)
    kept = 0
    for _ in range(200):
        before = [random.choice(WORDS) for _ in range(words)]
        after = [*before[: words - words // 4 // 2], *random.choices(OTHERS, k=words // 4 // 2)]
        kept += not differ_much(sketch(" ".join(before)), sketch(" ".join(after) + "!"))
        other = " ".join(random.choice(OTHERS) for _ in range(words))
        assert differ_much(sketch(" ".join(before)), sketch(other))
    assert kept >= 190  # the fewest words, the most mistakes


def test_a_text_without_letters_differs_from_none() -> None:
    assert sketch("") == 0
    assert not differ_much(sketch(""), sketch("some words of a text"))
