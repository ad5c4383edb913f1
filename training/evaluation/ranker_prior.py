"""Evaluate the trees of engagement: the prior with and without them, on tests never trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

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
from feedmill.training.evaluation.ranker_report import (
    RankerBar,
    RankerEvaluation,
    Section,
    calibration_figure,
    mean_figures,
    slope_figure,
)
from feedmill.training.fitting.engagement import arm_rows, fit_prior, fit_prior_weight, thinned
from feedmill.training.fitting.heads import FittedHead
from feedmill.training.fitting.linear_text import TextRows
from feedmill.training.fitting.ngram_models import SEED, folds_of
from feedmill.training.ranker_recipes import EngagementRecipe

# The trees may cost a pair in two hundred at most: the lower end of the paired difference.
_MOST_LOST = -0.005
_STAGES = (0, 100, 500, 2_000)
_LAST_OF_CURVE = 500
_FRACTIONS = (0.25, 0.5)
_WEIGHTS_SHOWN = (40.0, 80.0, 120.0, 160.0, 240.0, 480.0)
# Of the normal distribution: the half width of 95 %, then what an even chance and 80 % ask more.
_NORMAL_95, _POWER = 1.96, (0.0, 0.842)
_CONSTANT, _LINEAR, _TREES = "constant", "linear sum", "with trees"

Heads = Mapping[str, FittedHead]


@dataclass
class _HeldOut:
    """What models that learned nothing of an arm's test say of it: (arms,) each.

    `lifts` are logs, `priors` rates before counts, `scores` those after so many impressions.
    """

    lifts: Values
    priors: Values
    scores: dict[int, Values]

    @classmethod
    def of(cls, arms: Arms, seen: Mapping[int, SeenArms]) -> _HeldOut:
        """Return zeros, to be filled fold by fold."""
        count = len(arms)
        return cls(np.zeros(count), np.zeros(count), {stage: np.zeros(count) for stage in seen})


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
    _add_weights(arms, seen, found, recipe.prior_weights, evaluation)
    curve = {"all tests": found[_TREES]}
    for fraction in reversed(_FRACTIONS):
        name = f"{fraction:.0%} of the tests"
        curve[name] = _cross_validated(arms, rows, recipe, others, seen, fraction=fraction)
    _add_curve(arms, seen, curve, found[_CONSTANT], evaluation)


def _cross_validated(
    arms: Arms,
    rows: TextRows,
    recipe: EngagementRecipe,
    others: Heads,
    seen: Mapping[int, SeenArms],
    *,
    fraction: float = 1.0,
) -> _HeldOut:
    """Score the arms of each fold by a prior of the others, or of a fraction of their tests."""
    folds = folds_of(arms.tests, SEED + 1)
    found = _HeldOut.of(arms, seen)
    for fold in np.unique(folds):
        out = folds == fold
        fitted = fit_prior(recipe, arms.where(~out & _some_tests(rows.groups, fraction)), others)
        found.lifts[out] = fitted.lifts_of(rows.where(out))
        priors = prior_of(fitted.base, found.lifts[out])
        found.priors[out] = priors
        _fill(found, out, priors, fitted.prior_weight, seen)
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
        found.priors[out] = base
        _fill(found, out, found.priors[out], weight, seen)
    return found


def _fill(
    found: _HeldOut, out: Mask, priors: Values, weight: float, seen: Mapping[int, SeenArms]
) -> None:
    """Set the scores of the arms in a fold after each number of impressions."""
    for stage, of_stage in seen.items():
        clicks, shown = of_stage.clicks[out], of_stage.impressions[out]
        found.scores[stage][out] = posterior(priors, clicks, shown, weight)


def _some_tests(tests: npt.NDArray[np.str_], fraction: float) -> Mask:
    """Return a mask of the arms of so many of the tests, drawn by chance: (arms,)."""
    names, test_of = np.unique(tests, return_inverse=True)
    kept = np.random.default_rng(SEED + 5).random(len(names)) < fraction
    return np.asarray(kept[test_of])


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
    evaluation.bars.append(RankerBar(what, figures[2], low=_MOST_LOST))
    slopes = [
        slope_figure(found[name].lifts, rows.values, rows.weights, rows.groups)
        for name in (_LINEAR, _TREES)
    ]
    evaluation.sections.append(
        Section(
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
            evaluation.bars.append(RankerBar(what, gaps[0], high=0.0))
    evaluation.sections.append(
        Section(
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
    )


def _add_weights(
    arms: Arms,
    seen: Mapping[int, SeenArms],
    found: Mapping[str, _HeldOut],
    weights: Sequence[float],
    evaluation: RankerEvaluation,
) -> None:
    """Add what other weights of the prior would do, and how many arms show the gain."""
    stages = [stage for stage in seen if stage]

    def gap(stage: int, weight: float, name: str) -> str:
        kept, of_stage = _reached(arms, stage), seen[stage]
        scores = posterior(found[name].priors, of_stage.clicks, of_stage.impressions, weight)
        losses = [
            log_losses(some[kept], of_stage.rate[kept])
            for some in (scores, found[_CONSTANT].scores[stage])
        ]
        return f"{1e4 * np.average(losses[0] - losses[1], weights=of_stage.rest[kept]):.3f}"

    evaluation.sections.append(
        Section(
            "The weight of the prior, on tests never trained",
            "Log loss less that of the smoothed rate with the weight that fits it best, in 1e-4 "
            "nats an impression: of the prior with trees, then of the smoothed rate itself, by how "
            "many impressions either is worth.",
            ("weight", *(f"{name}, {n:,}" for n in stages for name in (_TREES, "smoothed"))),
            [
                (f"{w:g}", *(gap(n, w, name) for n in stages for name in (_TREES, _CONSTANT)))
                for w in weights
                if w in _WEIGHTS_SHOWN
            ],
        )
    )
    table = []
    for stage in stages:
        count = int(_reached(arms, stage).sum())
        figure = _loss_gap(arms, seen[stage], found, stage, (_TREES, _CONSTANT))
        error = (figure.high - figure.low) / (2 * _NORMAL_95)
        needed = [
            f"{count * ((_NORMAL_95 + more) * error / figure.value) ** 2:,.0f}"
            if figure.value < 0
            else "no number"
            for more in _POWER
        ]
        table.append((f"{stage:,}", f"{count:,}", str(figure), *needed))
    evaluation.sections.append(
        Section(
            "How many arms show that the prior is better than the smoothed rate",
            "Were the gain that of this table, so many test arms would put the upper end of its "
            "interval below 0 in half of all draws, or in four of five.",
            ("impressions", "arms", "trees less smoothed rate", "half of draws", "four of five"),
            table,
        )
    )


def _add_curve(
    arms: Arms,
    seen: Mapping[int, SeenArms],
    curve: Mapping[str, _HeldOut],
    constant: _HeldOut,
    evaluation: RankerEvaluation,
) -> None:
    """Add what more tests to learn from are worth."""
    pairs = significant_pairs(arms)
    groups = [arms.tests[row] for row in pairs[:, 0]]
    stages = [stage for stage in seen if stage <= _LAST_OF_CURVE]
    table = []
    for name, model in reversed([*curve.items()]):
        hits = (model.lifts[pairs[:, 0]] > model.lifts[pairs[:, 1]]).astype(np.float64)
        both = {_TREES: model, _CONSTANT: constant}
        gaps = [_loss_gap(arms, seen[n], both, n, (_TREES, _CONSTANT)) for n in stages]
        order = mean_figures(Bootstrap(groups), [hits])[0]
        table.append((name, str(order), *map(str, gaps)))
    evaluation.sections.append(
        Section(
            "Learning curve of the prior",
            "Trained on some of the tests of the other folds. Log loss less that of the smoothed "
            "rate, in 1e-4 nats an impression, after so many impressions.",
            ("trained on", "pairs in order", *(f"after {stage}" for stage in stages)),
            table,
        )
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
