"""Train engagement on Upworthy's randomised headline tests: no selection, no position bias.

The text's lift is learned within tests only (what an audience or a week does to all arms of a test
is no merit of a headline).  How far counts move a prior is learned by thinning: an arm's clicks and
impressions are drawn down to a few without replacement, the rest of the arm is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import DataUse, ModelCard, pack_artifact, save_artifact, sha256_of
from feedmill.models.text_model import NgramModel, model_arrays
from feedmill.models.trees import Trees
from feedmill.rankers.engagement import (
    COUNT_FEATURES,
    FEATURES,
    STRENGTHS,
    ExpectedClicks,
    count_columns,
    posterior,
    probability,
)
from feedmill.training.datasets.labelled_posts import read_csv_rows, split_of
from feedmill.training.evaluation.metrics import fraction, rank_correlation
from feedmill.training.fitting.stacking import (
    SEED,
    Mask,
    Values,
    count_matrix,
    fit_ridge,
    fit_trees,
    folds_of,
    out_of_fold,
    stacked_rows,
)

_DRAWS = 6


@dataclass(frozen=True)
class Arms:
    """Arms of headline tests."""

    texts: list[str]
    tests: list[str]
    impressions: npt.NDArray[np.int64]
    clicks: npt.NDArray[np.int64]

    def where(self, mask: Mask) -> Arms:
        """Return the arms where `mask` is true."""
        kept = np.flatnonzero(mask)
        return Arms(
            [self.texts[i] for i in kept],
            [self.tests[i] for i in kept],
            self.impressions[kept],
            self.clicks[kept],
        )


def read_arms(folder: Path) -> tuple[Arms, Arms]:
    """Return the arms to learn from, and those that judge; a test is never split."""
    rows = read_csv_rows(folder, "engagement_upworthy")
    arms = Arms(
        [r["headline"] for r in rows],
        [r["clickability_test_id"] for r in rows],
        np.array([int(r["impressions"]) for r in rows], dtype=np.int64),
        np.array([int(r["clicks"]) for r in rows], dtype=np.int64),
    )
    arms = arms.where(arms.impressions > 0)
    judges = np.array([split_of("upworthy", test) == "judge" for test in arms.tests])
    return arms.where(~judges), arms.where(judges)


def train(folder: Path, out: Path, day: str) -> ModelCard:
    """Train, judge and save the engagement ranker into the store `out`."""
    learn, held = read_arms(folder)
    model, trees = _fit(learn)
    base, strength = model.base, model.strength
    arrays = model_arrays({"lift": model.ngram_model}, trees)
    content = pack_artifact(
        {"name": "engagement", "base": base, "strength": strength}, FEATURES, arrays
    )
    digest = sha256_of(content)
    card = ModelCard(
        name="engagement",
        sha256=digest,
        trained_on=day,
        summary="Expected clicks per impression: the text's prior, moved by decayed counters.",
        features=len(FEATURES),
        data=[
            DataUse(
                "engagement_upworthy.csv.gz",
                len(learn.texts),
                "CC BY 4.0 (its authors)",
                "labelled",
            )
        ],
        metrics={
            "base_rate": base,
            "prior_strength_impressions": strength,
            **_evaluate(model, held),
        },
        weaknesses=[
            "headlines of one publisher, 2013-2015; the base rate is theirs",
            "no author, community or position: a product with positions must correct for them",
            "likes, replies and shares count as clicks; dwell is kept, not used",
        ],
        command="feedmill train engagement --data DATA",
    )
    save_artifact(out, card, content)
    return card


def _fit(learn: Arms) -> tuple[ExpectedClicks, dict[str, str]]:
    rates = (learn.clicks + 0.5) / (learn.impressions + 1)
    tests = np.unique(np.array(learn.tests), return_inverse=True)[1]
    weights = np.minimum(learn.impressions.astype(np.float64), 20_000) * rates
    weights /= weights.mean()
    lifts = np.log(rates) - _test_means(np.log(rates), weights, tests)
    batch = TextBatch(learn.texts)
    matrix = count_matrix(batch)

    def fit_table(mask: Mask) -> NgramModel:
        return fit_ridge(matrix[mask], lifts[mask], weights[mask], 3.0)

    scores = out_of_fold(fit_table, matrix, folds_of(learn.tests))
    lift = fit_trees(
        stacked_rows([scores], batch),
        lifts,
        weights,
        objective="regression",
        rounds=100,
        leaves=6,
        min_rows=100,
        rate=0.05,
    )
    table = fit_table(np.ones(len(tests), dtype=np.bool_))
    base = float(learn.clicks.sum() / learn.impressions.sum())
    strength, correction = _fit_counts(learn, base)
    trees = {"trees_lift": lift, "trees_correction": correction}
    forests = (Trees.parse(lift), Trees.parse(correction))
    return ExpectedClicks("engagement", "", table, *forests, base, strength), trees


def _test_means(values: Values, weights: Values, tests: npt.NDArray[np.int64]) -> Values:
    means = np.bincount(tests, values * weights) / np.bincount(tests, weights)
    return np.asarray(means[tests], dtype=np.float64)


def _fit_counts(learn: Arms, base: float) -> tuple[float, str]:
    """Fit the prior's strength, then the correction that LightGBM adds to the posterior mean."""
    seen, clicked, rest, truth = thinned(learn, np.random.default_rng(SEED))
    # The prior is jittered as widely as a text moves it, so that no value of it is special.
    jitter = np.random.default_rng(SEED + 1).normal(0.0, 0.15, len(seen))
    priors = base * np.exp(jitter)
    losses = {
        strength: _log_loss(posterior(priors, clicked, seen, strength), truth, rest)
        for strength in (20.0, 40.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0, 1000.0)
    }
    strength = min(losses, key=lambda s: losses[s])
    columns = count_columns(priors, clicked, seen, strength)
    correction = fit_trees(
        columns,
        truth,
        rest / rest.mean(),
        objective="cross_entropy",
        rounds=60,
        leaves=8,
        min_rows=400,
        rate=0.05,
        monotone=[1] * len(COUNT_FEATURES),
        start=columns[:, 1 + STRENGTHS.index(1.0)],
    )
    return strength, correction


def thinned(arms: Arms, random: np.random.Generator) -> tuple[Values, Values, Values, Values]:
    """Draw each arm down to a few impressions, `_DRAWS` times.

    Returns impressions and clicks seen, and impressions and click rate of the rest of the arm.
    """
    impressions = np.tile(arms.impressions, _DRAWS)
    clicks = np.tile(arms.clicks, _DRAWS)
    most = np.log1p(impressions * 0.8)
    seen = np.floor(np.expm1(random.uniform(0, 1, len(most)) * most)).astype(np.int64)
    clicked = random.hypergeometric(clicks, impressions - clicks, seen)
    rest = (impressions - seen).astype(np.float64)
    return seen.astype(np.float64), clicked.astype(np.float64), rest, (clicks - clicked) / rest


def _log_loss(odds: Values, truth: Values, weights: Values) -> float:
    """Return the weighted binomial log loss per impression."""
    rates = probability(odds)
    loss = -(truth * np.log(rates) + (1 - truth) * np.log1p(-rates))
    return float((loss * weights).sum() / weights.sum())


def _evaluate(model: ExpectedClicks, held: Arms) -> dict[str, float]:
    priors = model.prior_texts(TextBatch(held.texts))
    right = _significant_pairs(held, priors)
    seen, clicked, rest, truth = thinned(held, np.random.default_rng(SEED + 2))
    tiled = np.tile(priors, _DRAWS)
    values = model.value(tiled, clicked, seen)
    raw = np.where(seen > 0, clicked / np.maximum(seen, 1), model.base)
    some = seen > 0
    return {
        "upworthy.arms": float(len(held.texts)),
        "upworthy.pairs": float(len(right)),
        "upworthy.pairs_right_by_text": fraction(right),
        "upworthy.spearman_thinned": rank_correlation(values[some], truth[some]),
        "upworthy.spearman_thinned_raw_rate": rank_correlation(raw[some], truth[some]),
        "upworthy.log_loss": _log_loss(_odds(values), truth, rest),
        "upworthy.log_loss_prior_only": _log_loss(_odds(tiled), truth, rest),
        "upworthy.log_loss_posterior_only": _log_loss(
            posterior(tiled, clicked, seen, model.strength), truth, rest
        ),
    }


def _odds(values: Values) -> Values:
    return np.asarray(np.log(values / (1 - values)), dtype=np.float64)


def _significant_pairs(arms: Arms, scores: Values) -> Mask:
    """Tell of each pair of arms of a test whose rates differ at 5 %, if `scores` order it right."""
    by_test: dict[str, list[int]] = {}
    for index, test in enumerate(arms.tests):
        by_test.setdefault(test, []).append(index)
    rates = arms.clicks / arms.impressions
    right = []
    for members in by_test.values():
        for position, first in enumerate(members):
            for second in members[position + 1 :]:
                if arms.texts[first] != arms.texts[second] and _differ(arms, first, second):
                    up = rates[first] > rates[second]
                    right.append((scores[first] > scores[second]) == up)
    return np.array(right, dtype=np.bool_)


def _differ(arms: Arms, first: int, second: int) -> bool:
    """Two-proportion z-test at 5 %."""
    clicks, impressions = arms.clicks[[first, second]], arms.impressions[[first, second]]
    pooled = clicks.sum() / impressions.sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / impressions).sum())
    gap = abs(clicks[0] / impressions[0] - clicks[1] / impressions[1])
    return bool(gap > 1.96 * error > 0)
