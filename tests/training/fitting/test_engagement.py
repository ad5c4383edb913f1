"""Fitting engagement: heads of reactions, the prior, and a product's own impressions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as changed
from scipy.stats import spearmanr

from builders.impressions import BETTER_RATE, RATE, planted_impressions, planted_posts
from builders.ranker_datasets import write_headline_tests, write_reactions
from builders.training_data import WORDS
from feedmill.events.post import Media
from feedmill.features.authorship import UNKNOWN_HOUR
from feedmill.features.media import IMAGE, LINK, NONE, OTHER, UNKNOWN, VIDEO
from feedmill.features.text.ngrams import TextBatch
from feedmill.training.datasets.headline_tests import Arms, read_arms
from feedmill.training.datasets.impression_arms import arms_of, shown_posts
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.ranker_datasets import FACEBOOK, REDDIT
from feedmill.training.evaluation.ranker_metrics import slope_within
from feedmill.training.fitting.engagement import (
    FittedEngagement,
    arm_rows,
    fit_engagement,
    fit_head,
    fit_impressions,
    fit_media,
    reaction_rows,
    smoothing_of,
)
from feedmill.training.fitting.linear_text import RidgePenalties, TextRows, score_rows, text_rows
from feedmill.training.fitting.post_effects import EffectPenalties
from feedmill.training.recipes import ENGAGEMENT


def read(folder: Path, *, by_text: bool) -> tuple[Arms, dict[str, LabelledPosts]]:
    write_headline_tests(folder, by_text=by_text)
    write_reactions(folder)
    reactions = {kind: FACEBOOK.load(folder, kind) for kind in ("like", "share")}
    return read_arms(folder), {**reactions, "reply": REDDIT.load(folder, "reply")}


def test_a_prior_that_knows_the_rates_is_worth_more_and_its_heads_weigh_as_the_recipe_says(
    tmp_path: Path,
) -> None:
    unknown = fit_engagement(ENGAGEMENT, *read(tmp_path, by_text=False))
    arms, reactions = read(tmp_path, by_text=True)
    fitted = fit_engagement(ENGAGEMENT, arms, reactions)
    assert fitted.prior_weight > 2 * unknown.prior_weight
    assert sum(fitted.head_weights.values()) > 5 * abs(sum(unknown.head_weights.values()))
    # Over headlines each head has the deviation one.
    headlines = TextBatch(arms.texts)
    for kind in ("like", "reply", "share"):
        scores = fitted.heads[kind].score(headlines)
        assert scores.std() == pytest.approx(1, rel=0.02)
        assert scores.mean() == pytest.approx(0, abs=0.02)
    by_kind = {head.kind: head.weight for head in ENGAGEMENT.heads}
    ratios = [fitted.head_weights[kind] / weight for kind, weight in by_kind.items()]
    np.testing.assert_allclose(ratios, ratios[0])


def test_trees_find_within_tests_what_no_sum_of_columns_can(tmp_path: Path) -> None:
    arms, reactions = read(tmp_path, by_text=False)
    random = np.random.default_rng(6)
    # A headline draws clicks if it begins with a digit or ends with a question mark, but not both.
    marks = random.integers(0, 2, (len(arms), 2))
    texts = [
        f"{'7 ' * a}{t}{' ?' * b}" for t, (a, b) in zip(arms.texts, marks.tolist(), strict=True)
    ]
    clicks = random.binomial(arms.impressions, np.where(marks[:, 0] != marks[:, 1], 0.03, 0.01))
    either = replace(arms, texts=texts, clicks=clicks)
    is_new = np.arange(len(arms)) >= 400
    fitted = fit_engagement(ENGAGEMENT, either.where(~is_new), reactions)
    rows = arm_rows(either.where(is_new))
    lifts = fitted.lifts_of(rows)
    without = score_rows(fitted.lift, rows)
    assert spearmanr(lifts, rows.values).statistic > 0.5
    assert abs(spearmanr(without, rows.values).statistic) < 0.2
    assert slope_within(lifts, rows.values, rows.weights, rows.groups) > 0.8


def test_targets_of_arms_are_within_their_test(tmp_path: Path) -> None:
    arms, reactions = read(tmp_path, by_text=True)
    generous = replace(arms, clicks=np.where(np.array(arms.tests) == "t0", 900, arms.clicks))
    rows = arm_rows(generous)
    first = rows.groups == "t0"
    np.testing.assert_allclose(rows.values[first], 0, atol=1e-9)
    assert rows.weights.mean() == pytest.approx(1)
    few, posts = reaction_rows(reactions["reply"], most=100)
    assert len(few) == len(posts) <= 100


ROWS, GROUPS = 400, 10
PENALTIES = RidgePenalties(30.0, media=1.0)


def planted() -> TextRows:
    """Rows of ten groups: a picture adds 1 and a video 0.5 to a link's; later groups are larger."""
    random = np.random.default_rng(3)
    media = random.choice([LINK, IMAGE, VIDEO], ROWS).astype(np.int8)
    values = np.where(media == IMAGE, 1.0, np.where(media == VIDEO, 0.5, 0.0))
    group = np.arange(ROWS) % GROUPS
    texts = [" ".join(random.choice(WORDS, 8)) for _ in range(ROWS)]
    return text_rows(texts, values + 5.0 * group, [f"g{n}" for n in group], media=media)


def test_kinds_add_what_they_add_within_groups() -> None:
    rows = planted()
    media = fit_media(rows, np.zeros(ROWS), 1e-6)
    assert media[IMAGE] - media[LINK] == pytest.approx(1, abs=1e-4)
    assert media[VIDEO] - media[LINK] == pytest.approx(0.5, abs=1e-4)
    assert media[rows.media].mean() == pytest.approx(0, abs=1e-12)
    # Kinds that no row has, and unknown ones, add nothing.
    assert media[OTHER] == media[UNKNOWN] == 0


def test_rows_of_unknown_kinds_are_left_out() -> None:
    rows = planted()
    assert rows.media is not None
    is_unknown = np.arange(ROWS) % 4 == 0
    some = replace(
        rows,
        media=np.where(is_unknown, UNKNOWN, rows.media).astype(np.int8),
        values=np.where(is_unknown, 1e6, rows.values),
    )
    found = fit_media(some, np.zeros(ROWS), 1e-6)
    known = fit_media(rows.where(~is_unknown), np.zeros(int((~is_unknown).sum())), 1e-6)
    np.testing.assert_array_equal(found, known)
    assert found[IMAGE] - found[LINK] == pytest.approx(1, abs=1e-4)
    assert not fit_media(replace(rows, media=None), np.zeros(ROWS), 1.0).any()


def test_a_rare_kind_adds_less_than_was_seen_of_it() -> None:
    rows = planted()
    assert rows.media is not None
    rare = replace(rows, media=np.where(np.arange(ROWS) < 4, IMAGE, LINK).astype(np.int8))
    rare = replace(rare, values=np.where(rare.media == IMAGE, 1.0, 0.0))
    free, shrunken = (fit_media(rare, np.zeros(ROWS), penalty) for penalty in (1e-6, 40.0))
    assert 0 < shrunken[IMAGE] < 0.2 * free[IMAGE]


def test_what_the_text_says_already_is_not_added_again() -> None:
    rows = planted()
    media = fit_media(rows, rows.values, 1e-6)
    np.testing.assert_allclose(media, 0, atol=1e-9)


def test_the_model_of_texts_learns_nothing_of_media() -> None:
    rows = planted()
    with_media = fit_head(rows, PENALTIES)
    without = fit_head(rows, RidgePenalties(30.0))
    assert with_media.media.any()
    assert not without.media.any()
    text = score_rows(without.text, rows)
    np.testing.assert_array_equal(with_media.scores(replace(rows, media=None)), text)
    np.testing.assert_array_equal(with_media.scores(rows), text + with_media.media[rows.media])


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
