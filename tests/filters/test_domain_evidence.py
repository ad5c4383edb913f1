import numpy as np
import pytest

from builders.events import post
from feedmill.features import domain_quality
from feedmill.features.domain_quality import domain_key
from feedmill.features.post_batch import PostBatch
from feedmill.filters.domain_evidence import raise_by_domains
from feedmill.filters.registry import load

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
