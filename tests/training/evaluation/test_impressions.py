from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from builders.impressions import impressions_in_turn
from feedmill.events.errors import UsageError
from feedmill.rankers.impressions import Impressions
from feedmill.training.evaluation.impressions import evaluate_later_posts, markdown
from feedmill.training.ranker_recipes import ENGAGEMENT

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
