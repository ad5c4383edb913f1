import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.features.history.post_history import CopyCounts
from feedmill.filters.campaign import campaign_probabilities, campaign_reason

SHIPPED = GatePolicy()


def probability(copies: int, authors: int) -> float:
    return float(np.float32(campaign_probabilities([CopyCounts(copies, authors)])[0]))


def test_at_the_shipped_thresholds() -> None:
    demote_at, hide_at = SHIPPED.demote_at or 0, SHIPPED.hide_at or 0
    for copies in range(6):
        assert probability(copies, copies + 1) < demote_at
    assert demote_at <= probability(6, 7) < hide_at
    for copies in range(9, 40):
        assert probability(copies, copies + 1) >= hide_at
        assert probability(copies, 1) >= hide_at


def test_five_people_with_one_headline_are_nothing() -> None:
    assert probability(0, 1) == 0
    assert probability(3, 4) == 0
    assert probability(4, 5) < 0.3


def test_more_copies_never_speak_for_a_post_and_one_author_speaks_against() -> None:
    for authors in (1, 2, 30):
        values = [probability(copies, authors) for copies in range(40)]
        assert values == sorted(values)
    assert probability(6, 1) > probability(6, 7)


def test_the_reason_says_what_and_when() -> None:
    assert campaign_reason(CopyCounts(12, 11)) == "copy of 12 posts by 11 authors within 10 minutes"
    assert campaign_reason(CopyCounts(9, 1)) == "copy of 9 posts by one author within 10 minutes"
