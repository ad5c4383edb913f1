from __future__ import annotations

import numpy as np
import pytest

from builders.events import post
from feedmill.features import domain_quality
from feedmill.features.domain_quality import domain_key
from feedmill.features.post_batch import PostBatch
from feedmill.filters.domain_evidence import raise_by_domains
from feedmill.filters.registry import load

LINKED = post(links=("https://liar.example/a",))


@pytest.mark.parametrize(("score", "demoted"), [(0.0, True), (0.24, True), (0.25, False)])
def test_a_domain_of_little_credibility_demotes_and_never_hides(
    monkeypatch: pytest.MonkeyPatch, score: float, demoted: bool
) -> None:
    scores = {domain_key("liar.example"): score}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)
    batch = PostBatch([LINKED, post("plain")])
    raised = raise_by_domains(batch, np.array([0.3, 0.3]))
    assert (raised[0] >= 0.6) == demoted
    assert raised[0] < 0.9
    assert raised[1] == 0.3
    np.testing.assert_array_equal(raise_by_domains(batch, np.full(2, 0.88))[1], 0.88)


def test_misinformation_reads_the_domains_and_spam_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = {domain_key("liar.example"): 0.1}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)
    assert load("misinformation").score_many([LINKED])[0] >= 0.6
    assert load("spam").score_many([LINKED])[0] < 0.6
