"""Train engagement on Upworthy's randomised headline tests: no selection, no position bias.

The text's lift is learned within tests only: what an audience or a week does to all arms of a test
is no merit of a headline.  How far counts move a prior is learned by thinning: a few of an arm's
impressions are drawn, and the rest of the arm is the truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import DataUse, ModelCard, pack_artifact, save_artifact, sha256_of
from feedmill.models.text_model import NgramModel, model_arrays
from feedmill.models.trees import Trees
from feedmill.rankers.engagement import (
    COUNT_FEATURES,
    FEATURES,
    ExpectedClicks,
    count_columns,
    fitted_posterior,
    posterior,
    probability,
)
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.headline_tests import (
    DRAWS,
    FILE,
    Arms,
    pairs_in_order,
    read_arms,
    thinned,
)
from feedmill.training.evaluation.metrics import fraction, rank_correlation
from feedmill.training.fitting.ngram_models import (
    SEED,
    count_matrix,
    fit_ridge,
    folds_of,
    out_of_fold,
)
from feedmill.training.fitting.trees import fit_trees, stacked_rows

# Impressions that a prior may be worth; the best of them is chosen.
_PRIOR_WEIGHTS = (20.0, 40.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0, 1000.0)


def train(folder: Path, out: Path, day: str) -> ModelCard:
    """Train and evaluate the engagement ranker, and save it into the store `out`.

    `folder` holds the data set, `day` is what the card states.  Raises `UsageError` where the file
    is missing.
    """
    train_arms, test_arms = read_arms(folder)
    lift = _fit_lift(train_arms)
    base = float(train_arms.clicks.sum() / train_arms.impressions.sum())
    prior_weight, correction = _fit_counts(train_arms, base)
    trees = {"trees_lift": lift.trees, "trees_correction": correction}
    content = pack_artifact(
        {"name": "engagement", "base": base, "strength": prior_weight},
        FEATURES,
        model_arrays({"lift": lift.ngram_model}, trees),
    )
    digest = sha256_of(content)
    forests = (Trees.parse(lift.trees), Trees.parse(correction))
    model = ExpectedClicks(
        "engagement", digest[:12], lift.ngram_model, *forests, base, prior_weight
    )
    metrics = {
        "base_rate": base,
        "prior_strength_impressions": prior_weight,
        **_evaluate(model, test_arms),
    }
    card = _card(digest, day, len(train_arms), metrics)
    save_artifact(out, card, content)
    return card


def _card(digest: str, day: str, rows: int, metrics: dict[str, float]) -> ModelCard:
    return ModelCard(
        name="engagement",
        sha256=digest,
        trained_on=day,
        summary="Expected clicks per impression: the text's prior, moved by decayed counters.",
        features=len(FEATURES),
        data=[DataUse(f"{FILE}.csv.gz", rows, "CC BY 4.0 (its authors)", "labelled")],
        metrics=metrics,
        weaknesses=[
            "headlines of one publisher, 2013-2015; the base rate is theirs",
            "no author, community or position: a product with positions must correct for them",
            "likes, replies and shares count as clicks; dwell is kept, not used",
        ],
        command="feedmill train engagement --data DATA",
    )


class _Lift(NamedTuple):
    """What makes of a text how far it lifts the base rate; the trees as LightGBM's text."""

    ngram_model: NgramModel
    trees: str


def _fit_lift(arms: Arms) -> _Lift:
    """Fit how far a text lifts its arm's click rate, in log, above the mean of its test."""
    rates = (arms.clicks + 0.5) / (arms.impressions + 1)
    tests = np.unique(np.array(arms.tests), return_inverse=True)[1]
    weights = np.minimum(arms.impressions.astype(np.float64), 20_000) * rates
    weights /= weights.mean()
    lifts = np.log(rates) - _test_means(np.log(rates), weights, tests)
    batch = TextBatch(arms.texts)
    matrix = count_matrix(batch)

    def fit_ngrams(mask: Mask) -> NgramModel:
        return fit_ridge(matrix[mask], lifts[mask], weights[mask], 3.0)

    scores = out_of_fold(fit_ngrams, matrix, folds_of(arms.tests))
    trees = fit_trees(
        stacked_rows([scores], batch),
        lifts,
        weights,
        objective="regression",
        rounds=100,
        leaves=6,
        min_rows=100,
        rate=0.05,
    )
    return _Lift(fit_ngrams(np.ones(len(arms), dtype=np.bool_)), trees)


def _test_means(values: Values, weights: Values, tests: npt.NDArray[np.int64]) -> Values:
    """Return for each arm the weighted mean of its test: (arms,)."""
    means = np.bincount(tests, values * weights) / np.bincount(tests, weights)
    return np.asarray(means[tests], dtype=np.float64)


def _fit_counts(arms: Arms, base: float) -> tuple[float, str]:
    """Fit what the prior is worth, then the correction that trees add to the posterior mean.

    Returns
    -------
    Impressions, and LightGBM's text.
    """
    drawn = thinned(arms, np.random.default_rng(SEED))
    # The prior is jittered as widely as a text moves it, so that no value of it is special.
    jitter = np.random.default_rng(SEED + 1).normal(0.0, 0.15, len(drawn.impressions))
    priors = base * np.exp(jitter)

    def loss(prior_weight: float) -> float:
        odds = posterior(priors, drawn.clicks, drawn.impressions, prior_weight)
        return _log_loss(odds, drawn.rate, drawn.rest)

    prior_weight = min(_PRIOR_WEIGHTS, key=loss)
    columns = count_columns(priors, drawn.clicks, drawn.impressions, prior_weight)
    correction = fit_trees(
        columns,
        drawn.rate,
        drawn.rest / drawn.rest.mean(),
        objective="cross_entropy",
        rounds=60,
        leaves=8,
        min_rows=400,
        rate=0.05,
        monotone=[1] * len(COUNT_FEATURES),
        start=fitted_posterior(columns),
    )
    return prior_weight, correction


def _log_loss(odds: Values, rates: Values, weights: Values) -> float:
    """Return the weighted binomial log loss per impression of (rows,) predicted log-odds."""
    predicted = probability(odds)
    loss = -(rates * np.log(predicted) + (1 - rates) * np.log1p(-predicted))
    return float((loss * weights).sum() / weights.sum())


def _evaluate(model: ExpectedClicks, arms: Arms) -> dict[str, float]:
    """Return the metrics of arms that did not train the model."""
    priors = model.prior_texts(TextBatch(arms.texts))
    in_order = pairs_in_order(arms, priors)
    drawn = thinned(arms, np.random.default_rng(SEED + 2))
    tiled = np.tile(priors, DRAWS)
    values = model.value(tiled, drawn.clicks, drawn.impressions)
    has_counts = drawn.impressions > 0
    raw_rates = np.where(has_counts, drawn.clicks / np.maximum(drawn.impressions, 1), model.base)
    posteriors = posterior(tiled, drawn.clicks, drawn.impressions, model.prior_weight)
    rates = drawn.rate[has_counts]
    return {
        "upworthy.arms": float(len(arms)),
        "upworthy.pairs": float(len(in_order)),
        "upworthy.pairs_right_by_text": fraction(in_order),
        "upworthy.spearman_thinned": rank_correlation(values[has_counts], rates),
        "upworthy.spearman_thinned_raw_rate": rank_correlation(raw_rates[has_counts], rates),
        "upworthy.log_loss": _log_loss(_odds(values), drawn.rate, drawn.rest),
        "upworthy.log_loss_prior_only": _log_loss(_odds(tiled), drawn.rate, drawn.rest),
        "upworthy.log_loss_posterior_only": _log_loss(posteriors, drawn.rate, drawn.rest),
    }


def _odds(values: Values) -> Values:
    """Return the log-odds of (rows,) probabilities, unclipped."""
    return np.asarray(np.log(values / (1 - values)), dtype=np.float64)
