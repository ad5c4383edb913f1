"""Evaluate the trees of engagement: the prior with and without them, on tests never trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ranker_figures import (
    RankerEvaluation,
    calibration_figure,
    mean_figures,
    slope_figure,
)

from feedmill.rankers.engagement import posterior, prior_of
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.headline_tests import (
    Arms,
    SeenArms,
    after_impressions,
    significant_pairs,
)
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.ranker_metrics import log_losses
from feedmill.training.fitting.engagement import arm_rows, fit_prior, fit_prior_weight, thinned
from feedmill.training.fitting.heads import FittedHead
from feedmill.training.fitting.linear_text import TextRows
from feedmill.training.fitting.ngram_models import SEED, folds_of
from feedmill.training.ranker_recipes import EngagementRecipe

# The trees may cost a pair in two hundred at most: the lower end of the paired difference.
_MOST_LOST = -0.005
_STAGES = (0, 100, 500, 2_000)
_CONSTANT, _LINEAR, _TREES = "constant", "linear sum", "with trees"

Heads = Mapping[str, FittedHead]


@dataclass
class _HeldOut:
    """What models that learned nothing of an arm's test say of it: (arms,) each.

    `lifts` are logs, `scores` rates after so many impressions.
    """

    lifts: Values
    scores: dict[int, Values]

    @classmethod
    def of(cls, arms: Arms, seen: Mapping[int, SeenArms]) -> _HeldOut:
        """Return zeros, to be filled fold by fold."""
        count = len(arms)
        return cls(np.zeros(count), {stage: np.zeros(count) for stage in seen})


def evaluate_prior(
    arms: Arms, recipe: EngagementRecipe, others: Heads, evaluation: RankerEvaluation
) -> None:
    """Cross-validate by tests what the trees add to the linear sum, before and after counts.

    `others` are the heads of other reactions, which no headline test trained.
    """
    random = np.random.default_rng(SEED + 4)
    seen = {
        stage: after_impressions(arms, np.minimum(stage, arms.impressions - 1), random)
        for stage in _STAGES
        if _reached(arms, stage).any()
    }
    rows = arm_rows(arms)
    linear = replace(recipe, trees=replace(recipe.trees, rounds=0))
    found = {
        _CONSTANT: _smoothed_rate(arms, recipe, seen),
        _LINEAR: _cross_validated(arms, rows, linear, others, seen),
        _TREES: _cross_validated(arms, rows, recipe, others, seen),
    }
    _add_order(arms, rows, found, evaluation)
    _add_losses(arms, seen, found, evaluation)


def _cross_validated(
    arms: Arms,
    rows: TextRows,
    recipe: EngagementRecipe,
    others: Heads,
    seen: Mapping[int, SeenArms],
) -> _HeldOut:
    """Score the arms of each fold by a prior of the others."""
    folds = folds_of(arms.tests, SEED + 1)
    found = _HeldOut.of(arms, seen)
    for fold in np.unique(folds):
        out = folds == fold
        fitted = fit_prior(recipe, arms.where(~out), others)
        found.lifts[out] = fitted.lifts_of(rows.where(out))
        _fill(found, out, prior_of(fitted.base, found.lifts[out]), fitted.prior_weight, seen)
    return found


def _smoothed_rate(arms: Arms, recipe: EngagementRecipe, seen: Mapping[int, SeenArms]) -> _HeldOut:
    """Score the arms of each fold by the click rate of the others, the same prior for each."""
    folds = folds_of(arms.tests, SEED + 1)
    found = _HeldOut.of(arms, seen)
    for fold in np.unique(folds):
        out = folds == fold
        train = arms.where(~out)
        base = float(train.clicks.sum() / train.impressions.sum())
        weight = fit_prior_weight(recipe, np.full(len(train), base), thinned(train))
        _fill(found, out, np.full(int(out.sum()), base), weight, seen)
    return found


def _fill(
    found: _HeldOut, out: Mask, priors: Values, weight: float, seen: Mapping[int, SeenArms]
) -> None:
    """Set the scores of the arms in a fold after each number of impressions."""
    for stage, of_stage in seen.items():
        clicks, shown = of_stage.clicks[out], of_stage.impressions[out]
        found.scores[stage][out] = posterior(priors, clicks, shown, weight)


def _add_order(
    arms: Arms, rows: TextRows, found: Mapping[str, _HeldOut], evaluation: RankerEvaluation
) -> None:
    pairs = significant_pairs(arms)
    better, worse = pairs[:, 0], pairs[:, 1]
    linear, trees = (
        (found[name].lifts[better] > found[name].lifts[worse]).astype(np.float64)
        for name in (_LINEAR, _TREES)
    )
    figures = mean_figures(Bootstrap(rows.groups[better].tolist()), [linear, trees, trees - linear])
    what = "significant pairs in order with trees, less by the linear sum alone"
    evaluation.expect(what, figures[2], low=_MOST_LOST)
    slopes = [
        slope_figure(found[name].lifts, rows.values, rows.weights, rows.groups)
        for name in (_LINEAR, _TREES)
    ]
    evaluation.add(
        "The trees, on tests never trained",
        f"The prior cross-validated by tests: {len(arms):,} arms, {len(pairs):,} pairs whose "
        "click rates differ at the 5 % level. The slope is that of the truth on the lift.",
        ("prior", "pairs in order", "slope"),
        [
            (_LINEAR, str(figures[0]), str(slopes[0])),
            (_TREES, str(figures[1]), str(slopes[1])),
            ("difference", str(figures[2]), ""),
        ],
    )


def _add_losses(
    arms: Arms,
    seen: Mapping[int, SeenArms],
    found: Mapping[str, _HeldOut],
    evaluation: RankerEvaluation,
) -> None:
    table = []
    for stage, of_stage in seen.items():
        kept = _reached(arms, stage)
        rest, rate = of_stage.rest[kept], of_stage.rate[kept]
        gaps = [
            _loss_gap(arms, of_stage, found, stage, pair)
            for pair in ((_TREES, _LINEAR), (_LINEAR, _CONSTANT), (_TREES, _CONSTANT))
        ]
        error = calibration_figure(
            Bootstrap(arms.where(kept).tests), found[_TREES].scores[stage][kept], rate, rest
        )
        table.append((f"{stage:,}", f"{int(kept.sum()):,}", *map(str, gaps), str(error)))
        what = f"log loss with trees less without, after {stage:,} impressions, 1e-4 nats"
        if not stage:
            evaluation.expect(what, gaps[0], high=0.0)
    evaluation.add(
        "The trees as impressions come, on tests never trained",
        "Log loss of the rest of each arm, in 1e-4 nats an impression, less that of another "
        "prior beside the same counts; a constant prior is the smoothed rate. The last column "
        "is the calibration error over the base rate.",
        (
            "impressions",
            "arms",
            "trees less linear",
            "linear less smoothed rate",
            "trees less smoothed rate",
            "calibration error",
        ),
        table,
    )


def _reached(arms: Arms, stage: int) -> Mask:
    """Return the arms with more impressions than a stage shows: (arms,)."""
    return np.asarray(arms.impressions >= 1.5 * stage + 100)


def _loss_gap(
    arms: Arms,
    seen: SeenArms,
    found: Mapping[str, _HeldOut],
    stage: int,
    pair: tuple[str, str],
) -> Figure:
    """Return the log loss of one less that of another, in 1e-4 nats an impression."""
    kept = _reached(arms, stage)
    first, second = (log_losses(found[name].scores[stage][kept], seen.rate[kept]) for name in pair)
    bootstrap = Bootstrap(arms.where(kept).tests)
    return mean_figures(bootstrap, [1e4 * (first - second)], seen.rest[kept])[0]
