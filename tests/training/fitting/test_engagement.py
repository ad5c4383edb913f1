from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from builders.ranker_datasets import write_headline_tests, write_reactions
from feedmill.features.text.ngrams import TextBatch
from feedmill.training.datasets.headline_tests import Arms, read_arms
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.reactions import FACEBOOK, REDDIT
from feedmill.training.evaluation.ranker_metrics import slope_within
from feedmill.training.fitting.engagement import arm_rows, fit_engagement, reaction_rows
from feedmill.training.fitting.linear_text import score_rows
from feedmill.training.ranker_recipes import ENGAGEMENT


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
