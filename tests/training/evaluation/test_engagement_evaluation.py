from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as changed
from sklearn.metrics import roc_auc_score

from builders.impressions import BETTER_RATE, RATE, impressions_in_turn, planted_impressions
from feedmill.events.errors import UsageError
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Values
from feedmill.training.evaluation.engagement_evaluation import (
    evaluate_later_posts,
    impression_slices,
    markdown,
    mean_loss,
)
from feedmill.training.recipes import ENGAGEMENT

POSTS, USERS = 400, 30


def impressions() -> Impressions:
    return impressions_in_turn(POSTS, USERS, seed=1)


def test_later_posts_are_measured_by_a_model_of_the_earlier_ones() -> None:
    found = evaluate_later_posts(ENGAGEMENT, impressions())
    assert (found.trained_on, found.impressions, found.posts) == (320 * USERS, 80 * USERS, 80)
    orders = {one.name: one for one in found.orders}
    assert orders["constant"].auc == 0.5
    assert orders["engagement"].auc > 0.6
    assert orders["engagement"].loss.high < 0 < orders["constant"].loss.low
    assert orders["the text alone"].loss.high < 0
    assert orders["engagement"].calibration_error < 0.3
    assert "| engagement | 0." in markdown(found)
    slices = {(one.by, one.value): one for one in found.slices}
    assert slices["language", "latin script"].impressions == found.impressions
    assert slices["language", "latin script"].loss.value == orders["engagement"].loss.value
    assert "\n| language | latin script | 2,400 | 0." in markdown(found)


def test_a_text_that_says_nothing_gains_nothing() -> None:
    rows = impressions()
    alike = [changed(post, text="A walk by the river") for post in rows.posts]
    orders = {
        one.name: one for one in evaluate_later_posts(ENGAGEMENT, replace(rows, posts=alike)).orders
    }
    assert orders["the text alone"].auc == 0.5
    assert abs(orders["engagement"].loss.value) < 20


def test_later_posts_without_clicks_are_refused() -> None:
    rows = impressions()
    is_late = rows.versions >= 320
    silent = replace(rows, reactions=rows.reactions & ~is_late[:, None])
    with pytest.raises(UsageError, match=r"expected 20 with a click and as many without, found 0"):
        evaluate_later_posts(ENGAGEMENT, silent)


DAY_MS = 1_700_006_400_000
HOUR_MS = 3_600_000
SLICE_POSTS, SLICE_USERS = 60, 150


@pytest.fixture(scope="module")
def rows() -> Impressions:
    """The first half of the posts are German and long, of one of 15 communities each."""
    rows = planted_impressions(SLICE_POSTS, SLICE_USERS, seed=1)
    posts = [
        changed(
            post,
            lang="de" if i < SLICE_POSTS // 2 else None,
            text=post.text * (4 if i < SLICE_POSTS // 2 else 1),
            communities=(f"c{i // 4}",),
            created_at_ms=DAY_MS + HOUR_MS * (1 if i < SLICE_POSTS // 2 else 20),
        )
        for i, post in enumerate(rows.posts)
    ]
    return replace(rows, posts=posts)


def truth(rows: Impressions) -> Values:
    return np.where(rows.versions % 2, BETTER_RATE, RATE)


def test_each_slice_holds_its_rows_alone(rows: Impressions) -> None:
    constant = np.full(len(rows), 0.16)
    found = {(s.by, s.value): s for s in impression_slices(rows, truth(rows), constant)}
    assert [key for key in found if key[0] != "community"] == [
        ("counts", "to 100 seen"),
        ("counts", "warm: 100 seen or more"),
        ("language", "de"),
        ("language", "latin script"),
        ("length", "to 100"),
        ("length", "to 400"),
        ("hour", "0 to 6 h UTC"),
        ("hour", "18 to 24 h UTC"),
    ]
    warm = rows.impressions >= 100
    assert found["counts", "warm: 100 seen or more"].impressions == warm.sum()
    german = found["language", "de"]
    inside = rows.versions < SLICE_POSTS // 2
    assert german.impressions == inside.sum()
    assert german.click_rate == rows.reacted("click")[inside].mean()
    assert german.auc == roc_auc_score(rows.reacted("click")[inside], truth(rows)[inside])
    assert german.loss.high < 0
    assert german.calibration_error < 0.15


def test_a_slice_of_few_clicks_is_left_out_and_few_communities_are_shown(rows: Impressions) -> None:
    constant = np.full(len(rows), 0.16)
    # Of the posts that nobody has seen there are 60 impressions, some ten of them clicked.
    found = impression_slices(rows, truth(rows), constant)
    assert not [s for s in found if s.value.startswith("cold")]
    assert len([s for s in found if s.by == "community"]) == 10
    fewer = replace(rows, reactions=rows.reactions & (rows.versions < SLICE_POSTS // 2)[:, None])
    languages = [
        s.value for s in impression_slices(fewer, truth(rows), constant) if s.by == "language"
    ]
    assert languages == ["de"]


def test_a_model_that_is_the_baseline_gains_nothing(rows: Impressions) -> None:
    for one in impression_slices(rows, truth(rows), truth(rows)):
        assert (one.loss.low, one.loss.value, one.loss.high) == (0, 0, 0)


def test_the_mean_loss_weighs_impressions_and_its_interval_draws_posts() -> None:
    posts = np.array([3, 3, 9, 9])
    figure = mean_loss(posts, np.array([1e-4, 1e-4, 0.0, 0.0]), np.array([1.0, 1.0, 3.0, 3.0]))
    assert figure.value == pytest.approx(0.25)
    assert figure.low == pytest.approx(0.0)
    assert figure.high == pytest.approx(1.0)
