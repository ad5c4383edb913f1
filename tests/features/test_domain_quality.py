import numpy as np
import pytest

from builders.events import post
from feedmill.features import domain_quality
from feedmill.features.domain_quality import domain_key, domain_scores, host_score, lowest_scores
from feedmill.features.post_batch import PostBatch


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {domain_key("liar.example"): 0.125, domain_key("news.paper.co.uk"): 0.75}
    monkeypatch.setattr(domain_quality, "domain_scores", lambda: scores)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("host", "score"),
    [
        ("liar.example", 0.125),
        ("shop.liar.example", 0.125),
        ("notliar.example", None),
        ("news.paper.co.uk", 0.75),
        ("paper.co.uk", None),
        ("co.uk", None),
    ],
)
def test_a_host_has_the_score_of_the_closest_domain(host: str, score: float | None) -> None:
    assert host_score(host) == score


@pytest.mark.usefixtures("listed")
def test_the_least_credible_link_counts_and_platforms_do_not() -> None:
    links = ("https://news.paper.co.uk/a", "https://liar.example/b", "https://youtube.com/c")
    posts = [post(), post("b", links=links), post("c", links=("https://other.example",))]
    np.testing.assert_array_equal(lowest_scores(PostBatch(posts)), [1.0, 0.125, 1.0])


def test_the_list_that_ships_has_scores_and_no_platform() -> None:
    scores = domain_scores()
    assert len(scores) > 10_000
    assert 0 <= min(scores.values()) < 0.1
    assert 0.9 < max(scores.values()) <= 1
    assert host_score("facebook.com") is None
    assert host_score("reuters.com") is not None
