"""How soon a candidate is surely within its limits or beyond, and how seldom that is wrong."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from feedmill.events.instance import ComparedPosts
from feedmill.events.release import Candidate
from feedmill.streams.releases.candidate_verdict import evidence, verdict

CANDIDATE = Candidate("a" * 64, (0.5,))
STEP = 50


def decided(shares: tuple[float, ...], most: int, seed: int) -> tuple[int, bool | None]:
    """Return after how many posts it is decided how, at most `most`, by the shares of posts.

    These are hidden by the candidate alone, by the version in force alone, and both of demoted.
    """
    random = np.random.default_rng(seed)
    rest = 1 - sum(shares)
    drawn = random.multinomial(STEP, [*shares, rest], size=most // STEP).cumsum(axis=0)
    for n, (more, less, demoted_more, demoted_less, _) in enumerate(drawn.tolist(), 1):
        counts = ComparedPosts(n * STEP, more, less, more + demoted_more, less + demoted_less)
        found = verdict(CANDIDATE, counts).is_within
        if found is not None:
            return n * STEP, found
    return most, None


@pytest.mark.parametrize(
    ("shares", "most", "outcome"),
    [
        ((0, 0, 0, 0), 1000, True),
        ((0.005, 0.005, 0.005, 0.005), 3500, True),
        ((0.03, 0, 0, 0), 1500, False),
        ((0, 0, 0.05, 0), 1500, False),
        ((0.01, 0, 0.01, 0), 5000, None),
    ],
)
def test_a_candidate_is_decided_in_time(
    shares: tuple[float, ...], most: int, outcome: bool | None
) -> None:
    found = [decided(shares, most, seed)[1] for seed in range(40)]
    assert found.count(outcome) >= 38


def test_what_is_owned_is_that_of_bets_in_any_order() -> None:
    random = np.random.default_rng(1)
    differences = random.permutation([1.0] * 7 + [-1.0] * 3 + [0.0] * 90)
    for limit in (0.0, 0.02, 1.0):
        scaled = (differences - limit) / (1 + limit)
        for sign, owned in zip((1, -1), evidence(100, 7, 3, limit), strict=True):
            each = [np.prod(1 + part * sign * scaled) for part in (0.1, 0.3, 0.6, 0.95)]
            assert_allclose(np.exp(owned), np.mean(each))


def test_one_sentence_says_why() -> None:
    assert verdict(CANDIDATE, ComparedPosts(1200, 36, 0, 40, 4)).reason == (
        "of 1,200 posts that both versions judged it hides 3.0% more and demotes or hides 3.0%"
        " more: it is sure to hide more than 1.0% beyond"
    )
    assert verdict(CANDIDATE, ComparedPosts()) == (
        None,
        "of 0 posts that both versions judged it hides 0.0% more and demotes or hides 0.0% more:"
        " neither surely below nor above its limits",
    )
