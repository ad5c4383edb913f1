"""Evaluate engagement: cold heads within groups, headlines in order, rates as counts come."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from post_ranker import EngagementRanker, MostClicked, PostRanker, SmoothedRate
from ranker_figures import (
    RankerEvaluation,
    calibration_figure,
    mean_figures,
    slope_figure,
)
from ranker_heads import (
    LATER,
    evaluate_head,
    evaluate_stored_head,
    ngrams_alone,
)
from ranker_prior import evaluate_prior

from feedmill.features.counters import KIND_INDEX, Counters
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.training.arrays import Values
from feedmill.training.datasets.headline_tests import (
    Arms,
    SeenArms,
    after_impressions,
    in_test_split,
    posts_of_arms,
    read_arms,
    significant_pairs,
)
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.plots import Panel
from feedmill.training.evaluation.ranker_metrics import (
    log_losses,
    rate_calibration,
)
from feedmill.training.fitting.engagement import (
    arm_rows,
    fit_prior_weight,
    fit_reaction_heads,
    thinned,
)
from feedmill.training.fitting.heads import head_scores
from feedmill.training.fitting.linear_text import cross_fitted
from feedmill.training.fitting.ngram_models import SEED, folds_of
from feedmill.training.ranker_recipes import ENGAGEMENT, HeadRecipe

_STAGES = (0, 100, 500, 2_000)


def evaluate_engagement(
    folder: Path, model: ExpectedClicks, evaluation: RankerEvaluation, *, look: bool
) -> None:
    """Add to an evaluation what the data sets in `folder` say of engagement.

    The recipe is evaluated by models trained for it; with `look` on the test rows too, where the
    stored model is as well.  Raises `UsageError` where a file is missing.
    """
    arms = read_arms(folder)
    in_test = in_test_split(arms)
    click = ENGAGEMENT.heads[0]
    _evaluate_headlines(arms if look else arms.where(~in_test), click, evaluation)
    loaded = {
        head.kind: head.dataset.load(folder, head.kind) for head in ENGAGEMENT.heads if head.dataset
    }
    others = {kind: posts.without_test() for kind, posts in loaded.items()}
    heads = fit_reaction_heads(ENGAGEMENT, others)
    evaluate_prior(arms.where(~in_test), ENGAGEMENT, heads, evaluation)
    for head in ENGAGEMENT.heads[1:]:
        if head.dataset is not None:
            posts = loaded[head.kind]
            rows = posts if look else posts.without_test()
            evaluate_head(rows, head, ENGAGEMENT.most_rows, evaluation)
            if look:
                evaluate_stored_head(posts.split("test"), head, model, evaluation)
    if look:
        test = arms.where(in_test)
        evaluation.rows.append(("upworthy", len(test)))
        _evaluate_rates(test, arms.where(~in_test), model, evaluation)


def _evaluate_headlines(arms: Arms, head: HeadRecipe, evaluation: RankerEvaluation) -> None:
    """Order headlines of tests never trained, and of later tests, beside n-grams alone."""
    rows = arm_rows(arms)
    weeks = arms.weeks
    is_later = weeks > np.quantile(weeks, LATER)
    folds = folds_of(arms.tests, SEED + 1)
    found = []
    by_cv = cross_fitted(partial(head_scores, head.penalties), rows, folds)
    ngrams = np.zeros(len(arms))
    for fold in np.unique(folds):
        out = folds == fold
        ngrams[out] = ngrams_alone(rows.where(~out), rows.where(out), head)
    found.append(("tests never trained", *_pair_figures(arms, by_cv, ngrams)))
    early, late = rows.where(~is_later), rows.where(is_later)
    later_scores = head_scores(head.penalties, early, late)
    later_ngrams = ngrams_alone(early, late, head)
    figures = _pair_figures(arms.where(is_later), later_scores, later_ngrams)
    found.append(("later tests", *figures))
    slope = slope_figure(later_scores, late.values, late.weights, late.groups)
    slope_cv = slope_figure(by_cv, rows.values, rows.weights, rows.groups)
    evaluation.expect("significant pairs in order, later tests", figures[0], least=0.60, low=0.57)
    evaluation.expect("the same less n-grams alone", figures[2], least=-0.03, low=-0.03)
    evaluation.expect("slope of truth on prediction, later tests", slope, least=0.8, most=1.25)
    evaluation.expect("slope, tests never trained", slope_cv, least=0.8, most=1.25)
    head_row = ("headlines", "pairs", "click head", "n-grams alone", "difference")
    table = [(name, f"{n:,}", str(a), str(b), str(d)) for name, a, b, d, n in found]
    note = "The fraction of pairs of one test, with click rates that differ at the 5 % level, that"
    evaluation.add("Headlines in order", f"{note} are in order.", head_row, table)


def _pair_figures(arms: Arms, scores: Values, other: Values) -> tuple[Figure, Figure, Figure, int]:
    pairs = significant_pairs(arms)
    hits = [(s[pairs[:, 0]] > s[pairs[:, 1]]).astype(np.float64) for s in (scores, other)]
    bootstrap = Bootstrap([arms.tests[i] for i in pairs[:, 0]])
    first, second, gap = mean_figures(bootstrap, [*hits, hits[0] - hits[1]])
    return first, second, gap, len(pairs)


def _evaluate_rates(
    test: Arms, train: Arms, model: ExpectedClicks, evaluation: RankerEvaluation
) -> None:
    """Predict the rest of test arms after their first impressions, beside the baselines."""
    base = float(train.clicks.sum() / train.impressions.sum())
    weight = fit_prior_weight(ENGAGEMENT, np.full(len(train), base), thinned(train))
    posts = posts_of_arms(test)
    priors = model.prior_many(posts)
    text: dict[str, Values] = {"text alone": priors}
    rankers: list[PostRanker] = [
        EngagementRanker(model),
        MostClicked(),
        SmoothedRate(base, weight),
    ]
    random = np.random.default_rng(SEED + 3)
    table: list[tuple[str, ...]] = []
    truth = []
    for stage in _STAGES:
        kept = test.impressions >= 1.5 * stage + 100
        if not kept.any():
            continue
        arms = test.where(kept)
        seen = after_impressions(arms, np.full(len(arms), stage), random)
        counters = _counters_after(seen)
        shown = [post for post, is_kept in zip(posts, kept, strict=True) if is_kept]
        scores = {ranker.name: ranker.score_posts(shown, counters) for ranker in rankers}
        scores |= {name: values[kept] for name, values in text.items()}
        pairs = significant_pairs(arms)
        table += _evaluate_stage(stage, arms, seen, scores, pairs, evaluation)
        truth.append(f"{stage:,}: {len(arms):,} test arms, {len(pairs):,} pairs")
        if stage in {0, 500}:
            evaluation.panels.append(_panel(f"after {stage} impressions", scores, seen))
    evaluation.add(
        "As impressions come",
        f"The truth is the rest of each arm. After {'; '.join(truth)}.",
        (
            *("ranker", "impressions", "log loss", "calibration error / base rate", "AUC"),
            "pairs in order",
        ),
        table,
    )


def _counters_after(seen: SeenArms) -> list[Counters]:
    """Return the counters of arms with what was seen of them, all of it at one moment."""
    counters = []
    for clicks, shown in zip(seen.clicks.tolist(), seen.impressions.tolist(), strict=True):
        one = Counters()
        for kind, count in (("impression", shown), ("click", clicks)):
            one.counts[KIND_INDEX[kind]], one.sums[KIND_INDEX[kind]] = int(count), count
        counters.append(one)
    return counters


def _evaluate_stage(
    stage: int,
    arms: Arms,
    seen: SeenArms,
    scores: dict[str, Values],
    pairs: npt.NDArray[np.int64],
    evaluation: RankerEvaluation,
) -> list[tuple[str, ...]]:
    """Add the bars of a stage, and return the rows of its rankers."""
    rates = ("engagement", "text alone", "smoothed rate")
    bootstrap = Bootstrap(arms.tests)
    losses = {n: log_losses(scores[n], seen.rate) for n in rates}
    others = list(rates[1:])
    gaps = mean_figures(
        bootstrap, [1e4 * (losses["engagement"] - losses[n]) for n in others], seen.rest
    )
    for name, gap in zip(others, gaps, strict=True):
        what = f"log loss less that of {name} after {stage:,} impressions, 1e-4 nats"
        if stage in {100, 500}:
            evaluation.expect(what, gap, high=0.0)
        elif stage:
            evaluation.expect(what, gap, most=0.0)
    errors = {n: calibration_figure(bootstrap, scores[n], seen.rate, seen.rest) for n in rates}
    what = f"calibration error over the base rate after {stage:,} impressions"
    evaluation.expect(what, errors["engagement"], most=0.1)
    table: list[tuple[str, ...]] = []
    for name, values in scores.items():
        hits = values[pairs[:, 0]] > values[pairs[:, 1]]
        ties = values[pairs[:, 0]] == values[pairs[:, 1]]
        in_order = float((hits + 0.5 * ties).mean()) if len(pairs) else 0.5
        loss = f"{np.average(losses[name], weights=seen.rest):.5f}" if name in rates else ""
        table.append(
            (
                name,
                f"{stage:,}",
                loss,
                str(errors[name]) if name in rates else "",
                f"{_weighted_auc(values, seen):.3f}",
                f"{in_order:.3f}",
            )
        )
    return table


def _weighted_auc(scores: Values, seen: SeenArms) -> float:
    """Return how often an impression that was clicked outranks one that was not, ties half."""
    clicks = seen.rate * seen.rest
    values, place = np.unique(scores, return_inverse=True)
    good = np.bincount(place, clicks, len(values))
    bad = np.bincount(place, seen.rest - clicks, len(values))
    below = np.cumsum(bad) - bad
    return float(good @ (below + bad / 2) / (good.sum() * bad.sum()))


def _panel(title: str, scores: dict[str, Values], seen: SeenArms) -> Panel:
    bins = rate_calibration(scores["engagement"], seen.rate, seen.rest)
    most = max(max(mean, rate) for _, mean, rate in bins) * 1.1
    points = [(mean / most, rate / most) for _, mean, rate in bins]
    label = f"predicted, 1 = {most:.3f}"
    return Panel(title, label, "click rate", points, diagonal=True, dots=True)
