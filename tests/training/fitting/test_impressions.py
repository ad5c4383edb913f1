from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as changed

from builders.impressions import BETTER_RATE, RATE, planted_impressions, planted_posts
from builders.training_data import WORDS
from feedmill.events.post import Media
from feedmill.features.authorship import UNKNOWN_HOUR
from feedmill.features.media import IMAGE, NONE, UNKNOWN
from feedmill.training.datasets.impression_arms import arms_of, shown_posts
from feedmill.training.fitting.engagement import FittedEngagement, arm_rows
from feedmill.training.fitting.impressions import fit_impressions, smoothing_of
from feedmill.training.fitting.linear_text import text_rows
from feedmill.training.fitting.post_effects import EffectPenalties
from feedmill.training.ranker_recipes import ENGAGEMENT

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def lifts_of(fitted: FittedEngagement, texts: list[str]) -> np.ndarray:
    return fitted.lifts_of(text_rows(texts, np.zeros(len(texts)), texts))


def test_new_posts_get_the_rates_that_were_planted() -> None:
    fitted = fit_impressions(ENGAGEMENT, planted_impressions(300, 40, seed=1))
    lifts = lifts_of(fitted, [post.text for post in planted_posts(200, seed=2)])
    rates = fitted.base * np.exp(lifts)
    assert rates[1::2].mean() == pytest.approx(BETTER_RATE, rel=0.25)
    assert rates[::2].mean() == pytest.approx(RATE, rel=0.25)
    assert rates[1::2].min() > rates[::2].max()


def test_kinds_of_reaction_that_nobody_shows_say_nothing() -> None:
    rows = planted_impressions(200, 40, seed=1, likes=0.5)
    fitted = fit_impressions(ENGAGEMENT, rows)
    assert fitted.rows == {"click": 200, "like": 200, "reply": 0, "share": 0}
    for kind in ("reply", "share"):
        assert not fitted.heads[kind].ngram_model.weights.any()
        assert not fitted.heads[kind].shape_weights.any()
    assert fitted.heads["like"].ngram_model.weights.any()


def test_what_media_do_to_likes_lifts_the_prior_of_new_posts() -> None:
    rows = planted_impressions(300, 40, seed=1)
    random = np.random.default_rng(4)
    has_picture = random.random(len(rows.posts)) < 0.5
    posts = [
        changed(post, media=(Media("u", "image"),) if picture else ())
        for post, picture in zip(rows.posts, has_picture.tolist(), strict=True)
    ]
    reactions = rows.reactions.copy()
    reactions[:, 1] = random.random(len(rows)) < np.where(has_picture[rows.versions], 0.3, 0.1)
    fitted = fit_impressions(ENGAGEMENT, replace(rows, posts=posts, reactions=reactions))
    assert not fitted.media["click"].any()
    assert fitted.media["like"][IMAGE] > 0 > fitted.media["like"][NONE]
    new = [post.text for post in planted_posts(50, seed=2)]
    of = text_rows(new, np.zeros(50), new)
    without, image = (
        fitted.lifts_of(replace(of, media=np.full(50, kind, np.int8))) for kind in (NONE, IMAGE)
    )
    assert (image > without).all()
    np.testing.assert_array_equal(
        fitted.lifts_of(of), fitted.lifts_of(replace(of, media=np.full(50, UNKNOWN, np.int8)))
    )


def test_authors_and_hours_are_learned_beside_texts_that_say_nothing() -> None:
    rows = planted_impressions(300, 40, seed=1)
    random = np.random.default_rng(3)
    is_better = np.arange(300) % 2 == 1
    # A day has 24 posts, an hour apart; the better ones are of odd hours, and of one author.
    posts = [
        changed(post, text=" ".join(random.choice(WORDS, 10)), created_at_ms=DAY_MS + HOUR_MS * i)
        for i, post in enumerate(rows.posts)
    ]
    alike = replace(rows, posts=posts)
    by_author = replace(alike, authors=np.where(is_better, 7, 5))
    found = {
        name: fit_impressions(replace(ENGAGEMENT, effects=penalties), some).effects
        for name, penalties, some in (
            ("hours", EffectPenalties((10.0,), (np.inf,)), alike),
            ("authors", EffectPenalties((np.inf,), (3.0,)), by_author),
        )
    }
    hours, authors = found["hours"], found["authors"]
    assert hours is not None
    assert authors is not None
    ratio = np.log(BETTER_RATE / RATE)
    # Twelve posts of an hour, beside a penalty of 10, keep about half of it.
    assert 0.3 < (hours.hours[1:24:2].mean() - hours.hours[:24:2].mean()) / ratio < 0.6
    assert hours.hours[1:24:2].min() > hours.hours[:24:2].max()
    assert authors.keys.tolist() == [5, 7]
    assert 0.6 < (authors.authors[1] - authors.authors[0]) / ratio < 1.1


def test_a_prior_with_its_author_is_calibrated() -> None:
    rows = planted_impressions(300, 40, seed=1)
    random = np.random.default_rng(3)
    alike = [changed(post, text=" ".join(random.choice(WORDS, 10))) for post in rows.posts]
    fitted = fit_impressions(
        ENGAGEMENT, replace(rows, posts=alike, authors=np.where(np.arange(300) % 2, 7, 5))
    )
    assert fitted.effects is not None
    of = text_rows([post.text for post in alike], np.zeros(300), [post.post_id for post in alike])
    unknown = np.full(300, UNKNOWN_HOUR, dtype=np.int8)
    for key, rate in ((7, BETTER_RATE), (5, RATE)):
        lifts = fitted.lifts_of(of, fitted.effects.lift(unknown, np.full(300, key)))
        assert (fitted.base * np.exp(lifts)).mean() == pytest.approx(rate, rel=0.25)


def test_a_post_that_nobody_saw_would_have_the_rate_of_all() -> None:
    rows = planted_impressions(300, 40, seed=1)
    arms = arms_of(rows, shown_posts(rows), "click")
    unseen = np.arange(300) < 10
    some = replace(
        arms,
        clicks=np.where(unseen, 0, arms.clicks),
        impressions=np.where(unseen, 0, arms.impressions),
        tests=["all"] * 300,
    )
    values = arm_rows(some, smoothing_of(some)).values
    base = some.clicks.sum() / some.impressions.sum()
    seen = (some.clicks + 0.5) / (some.impressions + smoothing_of(some))
    np.testing.assert_allclose(values[unseen] - values[20], np.log(base / seen[20]))


def test_of_many_posts_some_are_drawn() -> None:
    recipe = replace(ENGAGEMENT, most_rows=150)
    fitted = fit_impressions(recipe, planted_impressions(300, 20, seed=1))
    assert fitted.rows["click"] == 150
