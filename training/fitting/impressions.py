"""Fit the engagement ranker on a product's own impressions, by the recipe of the shipped one."""

from __future__ import annotations

import numpy as np

from feedmill.features.authorship import hours_of_day
from feedmill.features.text.ngrams import BUCKETS
from feedmill.features.text.shape import SHAPE_COLUMNS
from feedmill.models.text_model import LinearText, quantised
from feedmill.rankers.engagement import no_media
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Values
from feedmill.training.datasets.headline_tests import Arms
from feedmill.training.datasets.impression_arms import (
    ShownPosts,
    arms_of,
    community_days,
    seen_before,
    shown_posts,
)
from feedmill.training.fitting.engagement import (
    FittedEngagement,
    FittedHeads,
    SeenBefore,
    arm_rows,
    log_rates,
    scores_by_halves,
    sum_heads,
)
from feedmill.training.fitting.heads import FittedHead, fit_head
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.fitting.post_effects import EffectRows
from feedmill.training.ranker_recipes import EngagementRecipe

# A kind of reaction that users hardly show has a head that says nothing.
LEAST_REACTIONS = 50


def fit_impressions(recipe: EngagementRecipe, rows: Impressions) -> FittedEngagement:
    """Fit on impressions that `check_enough` let pass, of `most_rows` posts drawn from all.

    Each head learns how often users react so to what they are shown.  What the prior is worth is
    fitted on what was counted before each impression.
    """
    rows = _of_some_posts(rows, recipe.most_rows)
    shown = shown_posts(rows)
    arms = arms_of(rows, shown, recipe.heads[0].kind)
    models: dict[str, FittedHead] = {}
    scores: dict[str, Values] = {}
    for head in recipe.heads:
        of_kind = arms_of(rows, shown, head.kind)
        if of_kind.clicks.sum() < LEAST_REACTIONS:
            silent = LinearText(quantised(np.zeros(BUCKETS), 0.0), np.zeros(len(SHAPE_COLUMNS)))
            models[head.kind] = FittedHead(silent, no_media(), 0)
            scores[head.kind] = np.zeros(len(arms))
            continue
        targets = arm_rows(of_kind, smoothing_of(of_kind))
        models[head.kind] = fit_head(targets, head.penalties)
        scores[head.kind] = scores_by_halves(targets, arms.weeks, head.penalties)
    smoothing = smoothing_of(arms)
    return sum_heads(
        recipe,
        arms,
        arm_rows(arms, smoothing),
        FittedHeads(models, scores),
        [SeenBefore(shown.arms, seen_before(rows))],
        _effect_rows(arms, shown, smoothing),
    )


def _effect_rows(arms: Arms, shown: ShownPosts, smoothing: float) -> EffectRows:
    """Return the arms as effects of authors and hours are fitted on."""
    logs, weights = log_rates(arms, smoothing)
    return EffectRows(
        logs,
        weights / weights.mean(),
        hours_of_day(shown.posts),
        shown.authors,
        np.array(community_days(shown.posts), dtype=np.str_),
        np.array(shown.groups, dtype=np.str_),
    )


def _of_some_posts(rows: Impressions, most: int) -> Impressions:
    shown = np.unique(rows.versions)
    if len(shown) <= most:
        return rows
    drawn = np.random.default_rng(SEED).choice(shown, most, replace=False)
    return rows.where(np.isin(rows.versions, drawn))


def smoothing_of(arms: Arms) -> float:
    """Return on how many impressions half a click is the rate of all arms together.

    So a post that few have seen has about this rate.
    """
    return float(0.5 * arms.impressions.sum() / arms.clicks.sum())
