"""Two versions on labelled posts: their Brier scores, and the interval of the difference."""

import numpy as np
import pytest

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.continual.rated_posts import AuditedPost, RatedPost
from feedmill.training.evaluation.paired_brier import audited_brier, rated_brier
from feedmill.training.label_join import mean_label


def _text(number: int) -> str:
    return " ".join("abcdefghij"[int(digit)] * 3 for digit in str(number))


def rows_of(labels: list[float], raters: int, authors: int = 1_000_000) -> list[RatedPost]:
    """Rows whose texts have nothing in common, each by one of the raters in turn."""
    return [
        RatedPost(Post(f"p{n}", f"a{n % authors}", n, _text(n)), label, (f"r{n % raters}",), n)
        for n, label in enumerate(labels)
    ]


def test_the_scores_are_mean_squared_errors_and_the_difference_is_theirs() -> None:
    labels = [1.0, 0.0] * 50
    champion, challenger = np.full(100, 0.5), np.array([0.9, 0.1] * 50)
    found = rated_brier(rows_of(labels, 25), champion, challenger)
    assert found is not None
    assert (found.posts, found.groups) == (100, 25)
    assert (found.labelled, found.champion_mean, found.challenger_mean) == pytest.approx((0.5,) * 3)
    assert found.champion.value == pytest.approx(0.25)
    assert found.challenger.value == pytest.approx(0.01)
    assert found.difference.value == pytest.approx(0.24)
    # Every rater's posts say the same.
    assert (found.difference.low, found.difference.high) == pytest.approx((0.24, 0.24))


def test_raters_who_disagree_with_each_other_widen_the_interval() -> None:
    random = np.random.default_rng(5)
    by_rater = random.integers(0, 2, 40).astype(float)
    labels = [float(by_rater[n % 40]) for n in range(400)]
    champion, challenger = np.full(400, 0.2), np.full(400, 0.8)
    by_raters = rated_brier(rows_of(labels, 40), champion, challenger)
    by_posts = rated_brier(rows_of(labels, 400), champion, challenger)
    assert by_raters is not None
    assert by_posts is not None
    assert by_raters.difference.value == pytest.approx(by_posts.difference.value)
    widths = [one.difference.high - one.difference.low for one in (by_raters, by_posts)]
    assert widths[0] > 2.5 * widths[1]
    # The difference is between the versions: 0 is within the interval where they are the same.
    same = rated_brier(rows_of(labels, 40), champion, champion)
    assert same is not None
    assert same.difference.value == same.difference.low == same.difference.high == 0.0


def test_an_authors_posts_count_with_one_rater_alone() -> None:
    found = rated_brier(rows_of([1.0] * 60, 30, authors=1), np.zeros(60), np.ones(60))
    assert found is not None
    assert (found.posts, found.groups) == (2, 1)


def test_without_labels_there_is_nothing_to_compare() -> None:
    assert rated_brier([], np.zeros(0), np.zeros(0)) is None


def test_posts_drawn_at_random_weigh_the_inverse_of_their_probability() -> None:
    # One in ten of the rare kind was drawn as often as one in a thousand of the other.
    rows = [
        AuditedPost(Post(f"p{n}", f"a{n}", n, "text"), float(n < 30), 0.1 if n < 30 else 0.001)
        for n in range(60)
    ]
    champion = np.array([0.0] * 60)
    challenger = np.array([1.0] * 30 + [0.1] * 30)
    found = audited_brier(rows, champion, challenger)
    assert found is not None
    assert (found.posts, found.groups) == (60, 60)
    share = 300 / 30_300
    assert found.labelled == pytest.approx(share)
    assert found.champion.value == pytest.approx(share)
    assert found.challenger.value == pytest.approx(0.01 * (1 - share))
    assert found.difference.low < found.difference.value < found.difference.high
    assert audited_brier([], np.zeros(0), np.zeros(0)) is None


def test_a_rating_is_the_mean_of_the_labels() -> None:
    labels = [Label("p", "quality", value, f"r{value}", 1) for value in (0.25, 1.0)]
    assert mean_label(labels) == 0.625
