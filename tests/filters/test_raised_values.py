import numpy as np
import pytest

from builders.events import post
from feedmill.events.gates import GatePolicy
from feedmill.features import domain_quality
from feedmill.features.domain_quality import domain_key
from feedmill.features.near_copies import CopyCounts
from feedmill.features.post_batch import PostBatch
from feedmill.filters.raised_values import campaign_probabilities, campaign_reason, raise_by_domains
from feedmill.filters.registry import load

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


def test_of_the_first_author_own_repetitions_hide_and_copies_by_others_demote() -> None:
    def value(copies: int, authors: int, own: int) -> float:
        return float(np.float32(campaign_probabilities([CopyCounts(copies, authors, own)])[0]))

    demote_at, hide_at = SHIPPED.demote_at or 0, SHIPPED.hide_at or 0
    assert value(40, 41, 0) == value(40, 40, 1) == 0
    for own in range(2, 6):
        assert demote_at <= value(40, 40, own) < hide_at
        assert value(own, 1, own) == probability(own, 1)
    assert value(40, 33, 8) >= hide_at


def test_the_reason_says_what_and_when() -> None:
    assert campaign_reason(CopyCounts(12, 11)) == "copy of 12 posts by 11 authors within 10 minutes"
    first = campaign_reason(CopyCounts(40, 39, 2))
    assert first == "2 repetitions of the author's own text, and 38 copies by others, in 10 minutes"
    assert campaign_reason(CopyCounts(9, 1)) == "copy of 9 posts by one author within 10 minutes"


LINKED = post(links=("https://liar.example/a",))


@pytest.mark.parametrize(("score", "value"), [(0.0, 0.59), (0.25, 0.295), (0.5, 0.1), (0.9, 0.1)])
def test_the_less_credible_a_domain_is_the_closer_its_posts_are_to_demotion(
    monkeypatch: pytest.MonkeyPatch, score: float, value: float
) -> None:
    scores = {domain_key("liar.example"): score}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)
    raised = raise_by_domains(PostBatch([LINKED, post("plain")]), np.array([0.1, 0.1]))
    assert raised == pytest.approx([value, 0.1])
    high = raise_by_domains(PostBatch([LINKED]), np.array([0.8]))
    assert high == pytest.approx([0.8])


def test_misinformation_reads_the_domains_and_spam_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = {domain_key("liar.example"): 0.05}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)
    assert 0.5 < load("misinformation").score_many([LINKED])[0] < 0.6
    assert load("spam").score_many([LINKED])[0] < 0.5


TEXT = "We walked along the river this morning and saw a heron."


def value(name: str, *labels: str) -> float:
    return float(load(name).score_many([post(text=TEXT, self_labels=labels or None)])[0])


@pytest.mark.parametrize("label", ["porn", "NSFW", "graphic-media"])
def test_an_author_who_says_adult_is_believed_by_nsfw_alone(label: str) -> None:
    assert value("nsfw", "holiday", label) >= 0.9
    assert value("spam", label) == value("spam")


def test_other_labels_say_nothing() -> None:
    assert value("nsfw", "holiday") == value("nsfw") < 0.6
