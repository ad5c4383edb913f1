from math import fsum

import numpy as np
import pytest

from builders.events import post
from feedmill.events.post import Post
from feedmill.filters.model import OTHERS, ValueExplanation, explain_post
from feedmill.filters.registry import FILTERS, load


def total(explanation: ValueExplanation) -> float:
    words = [part for parts in explanation.words.values() for _, part in parts]
    evidence = [part for _, part in explanation.evidence]
    return fsum([*words, *evidence, explanation.constant, explanation.limit])


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("text", ["", "Free money, subscribe now!", "damn " * 900, "fr€e CAFÉ"])
def test_the_parts_add_up_to_the_log_odds_of_the_value(name: str, text: str) -> None:
    model = load(name)
    given = Post("p", "a", 0, text, links=("https://example.org/miracle-cure-found",))
    explanation = explain_post(model, given)
    assert explanation.value == model.score_many([given])[0]
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)
    odds = np.exp(explanation.log_odds)
    assert odds / (1 + odds) == pytest.approx(explanation.value, abs=1e-9)
    assert set(explanation.words) <= set(model.evidence.views)


def test_words_of_spam_move_the_value_more_than_others_and_the_strongest_come_first() -> None:
    (words,) = explain_post(
        load("spam"), post("p", "Subscribe to my channel, garden")
    ).words.values()
    parts = dict(words)
    assert parts["subscribe"] > parts["garden"]
    strengths = [abs(part) for _, part in words]
    assert strengths == sorted(strengths, reverse=True)


def test_of_many_words_the_weak_ones_are_one_part() -> None:
    text = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200))
    explanation = explain_post(load("spam"), post("p", text))
    words = explanation.words["text"]
    assert (len(words), words[-1][0]) == (31, OTHERS)
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)


def test_what_the_authors_own_label_adds_is_said() -> None:
    model = load("nsfw")
    label = sorted(model.believed_self_labels)[0]
    labelled = Post("p", "a", 0, "Pasta with beans", self_labels=(label,))
    explanation = explain_post(model, labelled)
    assert explanation.value >= 0.95
    assert explanation.limit > 1
    assert total(explanation) == pytest.approx(explanation.log_odds, abs=1e-9)
