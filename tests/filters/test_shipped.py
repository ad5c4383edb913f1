from dataclasses import replace

import numpy as np
import pytest

from builders.events import post, posts_of
from feedmill.events.built_in import BUILT_IN_GATES
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import FEATURE_GROUPS
from feedmill.features.text.ngrams import BUCKETS
from feedmill.filters.model import STORE
from feedmill.filters.registry import FILTERS, load
from feedmill.models.artifact import read_card
from feedmill.models.text_model import NgramModel

# Written for this test; none comes from a data set.
VIOLATING = {
    "spam": [
        "WINNER!! You have been selected for a £1000 cash prize! Call 09061701461 now to claim",
        "Check out my new channel and subscribe!!! http://www.example.com/watch?v=abc please share",
        "FREE entry in our weekly draw, text WIN to 80086 now! T&C apply, 150p/msg",
    ],
    "nsfw": [
        "Hot nude girls masturbating, full sex tape",
        "My first anal porn video, big cock and wet pussy",
        "Sexy milf fucked hard, free porn gallery",
        "Naked amateur slut shows her tits and ass",
        "[f] topless and horny tonight",
    ],
    "misinformation": [
        "Drinking bleach cures the coronavirus, doctors hide it",
        "5G towers spread the coronavirus, a secret report proves",
        "The government hides that COVID-19 vaccines contain microchips",
        "Garlic and hot water kill the novel coronavirus in the throat",
    ],
}
# Of the same subject, or in the same words, and yet fine.
LOOK_ALIKES = {
    "spam": [
        "The museum is free on Sundays, and the winner of the prize was our neighbour",
        "Call me when you are home, I will text you the address",
    ],
    "nsfw": [
        "We painted the naked branches of the oak",
        "A hard day at the office, then a hot bath",
        "The nurse took off her coat and made tea",
    ],
    "misinformation": [
        "The ministry reports 1,204 new cases and 33 deaths today",
        "Hospital visits are allowed again from May",
    ],
}
FINE = [
    "We walked along the river this morning and saw a heron.",
    "Does anybody know a good book about the history of bridges?",
    "The library opens at nine tomorrow",
    "My sister made soup for all of us yesterday",
    "We sold 12000 tickets in a week, from 20 towns",
    "Fresh bread from 199 bakers at 39601 doors",
]
EDGE = [
    "",
    " ",
    "\0",
    "a",
    "ok",
    "😀" * 50,
    "x" * 20_000,
    "ЯЩЖ " * 500,
    "né\u0301e",
    "日本語のテキスト",
]


@pytest.mark.parametrize("name", FILTERS)
def test_scores_are_probabilities_of_each_row_alone(name: str) -> None:
    model = load(name)
    many = posts_of([*(text for texts in VIOLATING.values() for text in texts), *FINE, *EDGE])
    scores = model.score_many(many)
    assert scores.shape == (len(many),)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = np.concatenate([model.score_many([post]) for post in many])
    np.testing.assert_array_equal(scores, alone)
    np.testing.assert_array_equal(scores[::-1], model.score_many(many[::-1]))
    assert model.score_many([]).shape == (0,)


@pytest.mark.parametrize("name", BUILT_IN_GATES)
def test_what_violates_is_demoted(name: str) -> None:
    assert load(name).score_many(posts_of(VIOLATING[name])).min() >= 0.6


@pytest.mark.parametrize("name", BUILT_IN_GATES)
def test_nothing_ordinary_is_demoted(name: str) -> None:
    short = ["", "ok", "Thanks!", "Good morning"]
    assert load(name).score_many(posts_of([*FINE, *LOOK_ALIKES[name], *short])).max() < 0.6


@pytest.mark.parametrize("name", BUILT_IN_GATES)
def test_what_violates_one_filter_is_not_for_that_reason_what_violates_another(name: str) -> None:
    own = load(name).score_many(posts_of(VIOLATING[name]))
    for other in VIOLATING.keys() - {name}:
        assert np.median(own) > np.median(load(name).score_many(posts_of(VIOLATING[other])))


@pytest.mark.parametrize("name", ["spam", "nsfw"])
def test_the_plainest_posts_are_hidden(name: str) -> None:
    assert load(name).score_many(posts_of(VIOLATING[name])).max() >= 0.9


def test_misinformation_never_hides_by_itself() -> None:
    texts = [*VIOLATING["misinformation"], *VIOLATING["spam"], *EDGE]
    texts.append("BREAKING: the vaccine kills, the virus is a hoax, drink bleach to cure covid")
    assert load("misinformation").score_many(posts_of(texts)).max() < 0.9


@pytest.mark.parametrize("name", FILTERS)
def test_name_and_version_are_the_cards(name: str) -> None:
    model, card = load(name), read_card(STORE, name)
    assert model.name == name
    assert model.version == card.sha256[:12]
    assert card.data and card.metrics and card.weaknesses
    assert not any("liar" in use.file or "mind" in use.file for use in card.data)


EVIDENCE = [(name, FILTERS[name].evidence) for name in BUILT_IN_GATES]
GROUPS = [(name, group) for name, evidence in EVIDENCE for group in evidence.groups]
VIEWS = [(name, view) for name, evidence in EVIDENCE for view in evidence.views]


def telling_posts(name: str) -> list[Post]:
    links = ("https://example.org/shocking-secret-baby-divorce", "https://xvideos.com/a")
    texts = [*VIOLATING[name], *LOOK_ALIKES[name], *FINE]
    return [post(f"p{i}", text, links=links) for i, text in enumerate(texts)]


@pytest.mark.parametrize(("name", "group"), GROUPS)
def test_every_group_of_columns_counts(name: str, group: str) -> None:
    model, batch = load(name), PostBatch(telling_posts(name))
    without = PostBatch(batch.posts)
    compute = FEATURE_GROUPS[group].compute
    without._computed[compute] = np.zeros_like(batch.computed(compute))
    assert np.abs(model.score_batch(batch) - model.score_batch(without)).max() > 0.01


@pytest.mark.parametrize(("name", "view"), VIEWS)
def test_every_view_counts(name: str, view: str) -> None:
    model, batch = load(name), PostBatch(telling_posts(name))
    place = model.evidence.views.index(view)
    nothing = NgramModel(np.zeros(BUCKETS, dtype=np.int32), 1.0, 0.0)
    ngram_models = tuple(
        nothing if i == place else ngrams for i, ngrams in enumerate(model.ngram_models)
    )
    without = replace(model, ngram_models=ngram_models)
    assert np.abs(model.score_batch(batch) - without.score_batch(batch)).max() > 0.01


def test_the_cards_hold_what_the_thresholds_promise() -> None:
    cards = [read_card(STORE, name).metrics for name in BUILT_IN_GATES]
    for source in ("reddit", "facebook", "hackernews", "bluesky", "semeval"):
        assert sum(card[f"{source}.validation.hidden"] for card in cards) <= 0.01
        assert sum(card[f"{source}.validation.demoted"] for card in cards) <= 0.03
