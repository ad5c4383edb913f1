"""Measure the shipped rankers: how well each orders posts, beside orders that need no model.

    python benchmarks/models/evaluate_rankers.py --docs .feedmill/evaluation [--look WHY]

With a look the shipped models are measured on test rows.  Without one these rows are not read:
models of the same recipes are trained on some groups of the other rows and measured on the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from evaluation_page import log_page_look, page_options, rows_measured, write_page
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from feedmill.features.media import media_kinds
from feedmill.features.text.ngrams import TextBatch
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store_files import Store
from feedmill.rankers.engagement import ExpectedClicks, posterior, prior_of
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import RANKERS, load
from feedmill.rankers.spec import STORE
from feedmill.training.arrays import Values, Weights
from feedmill.training.datasets.headline_tests import (
    Arms,
    after_impressions,
    in_test_split,
    posts_of_arms,
    read_arms,
    significant_pairs,
)
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.filter_evaluation import table
from feedmill.training.evaluation.intervals import NOTHING_KNOWN, Bootstrap, Figure
from feedmill.training.evaluation.ranker_metrics import log_losses
from feedmill.training.fitting.engagement import (
    arm_rows,
    fit_prior,
    fit_prior_weight,
    fit_reaction_heads,
    head_scores,
    reaction_rows,
    thinned,
)
from feedmill.training.fitting.ngram_models import SEED, folds_of
from feedmill.training.fitting.quality import RatedTexts, fit_quality
from feedmill.training.recipes import ENGAGEMENT, QUALITY, EngagementRecipe, HeadRecipe
from feedmill.training.trainers.quality import read_rated

# After so many impressions of an arm the click rate of the rest is predicted.
_STAGES = (0, 100, 500, 2_000)
# A group of fewer posts is not judged.
_GROUP_POSTS = 20
_CANNOT = ("What it cannot do:", "")


@dataclass(frozen=True)
class RankerEvaluation:
    """What was measured of one ranker: the sections of its page, and the rows by source."""

    card: ModelCard
    lines: list[str]
    rows: dict[str, int]


def mean_figure(values: Values, groups: Sequence[str], weights: Values | None = None) -> Figure:
    """Return the weighted mean of (rows,) values, with its interval by groups."""
    given = np.ones(len(values)) if weights is None else weights

    def measure(drawn: Weights) -> Values:
        return np.asarray((drawn @ (values * given) / (drawn @ given))[:, None])

    return Bootstrap(groups).figures(measure)[0] if len(values) else NOTHING_KNOWN


def correlation(scores: Values, truth: Values, groups: Sequence[str]) -> Figure:
    """Return Spearman's correlation, with its interval by groups: each draw weighs the ranks."""
    columns = np.stack([rankdata(scores), rankdata(truth)], axis=1) / len(truth)
    columns -= columns.mean(axis=0)

    def measure(drawn: Weights) -> Values:
        total = drawn.sum(axis=1)[:, None]
        means, squares = drawn @ columns / total, drawn @ columns**2 / total
        products = drawn @ columns.prod(axis=1)[:, None] / total
        shared = products - means.prod(axis=1)[:, None]
        spread = np.sqrt((squares - means**2).clip(0).prod(axis=1))[:, None]
        return np.where(spread > 1e-12, shared / spread.clip(1e-12), 0.0)

    return Bootstrap(groups).figures(measure)[0]


def correlation_within(scores: Values, posts: LabelledPosts) -> Figure:
    """Return the mean over groups of Spearman's correlation of scores with labels in the group."""
    groups = np.array(posts.groups)
    insides = [groups == name for name in np.unique(groups)]
    found = [
        np.nan_to_num(spearmanr(scores[inside], posts.labels[inside]).statistic)
        for inside in insides
        if inside.sum() >= _GROUP_POSTS
    ]
    return mean_figure(np.array(found), [f"{place}" for place in range(len(found))])


# --- quality ---------------------------------------------------------------------------------


def evaluate_quality(
    folder: Path, model: QualityModel, card: ModelCard, *, look: bool
) -> RankerEvaluation:
    """Measure how near quality is to the mean rating of people; raises `UsageError`."""
    rated = read_rated(folder, QUALITY)
    lines: list[list[str]] = []
    rows: dict[str, int] = {}
    unseen = {} if look else _unseen_quality(rated)
    for construct, texts in zip(QUALITY.constructs, rated, strict=True):
        posts = construct.dataset.load(folder).split("test") if look else texts.posts
        scores = model.score_texts(TextBatch(posts.texts)) if look else unseen[posts.source]
        rows[posts.source] = len(posts)
        shuffled = np.random.default_rng(SEED).random(len(posts))
        constant = np.full(len(posts), posts.labels.mean())
        columns = (("quality", scores), ("constant", constant), ("shuffle", shuffled))
        lines += [_quality_row(name, values, posts, construct.name) for name, values in columns]
    head = ["rated", "order", "texts", "Spearman", "AUC of above 0.5"]
    note = "Beside the mean rating of people, which is in [0, 1]."
    return RankerEvaluation(card, [note, "", *table(head, lines, left=2), ""], rows)


def _unseen_quality(rated: Sequence[RatedTexts]) -> dict[str, Values]:
    """Return by source the ratings by models that had not learned a text's group, before trees."""
    recipe = QUALITY
    return fit_quality(rated, recipe.helper_penalty, recipe.register_c, recipe.trees).unseen


def _quality_row(name: str, scores: Values, posts: LabelledPosts, construct: str) -> list[str]:
    truth = posts.labels
    order, auc = correlation(scores, truth, posts.groups), roc_auc_score(truth > 0.5, scores)
    return [f"{construct}, {posts.source}", name, f"{len(posts):,}", str(order), f"{auc:.3f}"]


# --- engagement ------------------------------------------------------------------------------


def evaluate_engagement(
    folder: Path, model: ExpectedClicks, card: ModelCard, recipe: EngagementRecipe, *, look: bool
) -> RankerEvaluation:
    """Measure the heads of reactions within groups, and click rates as impressions come.

    Raises `UsageError` where a file is missing.
    """
    rows: dict[str, int] = {}
    heads = []
    for head in recipe.heads:
        if head.dataset is not None:
            posts = head.dataset.load(folder, head.kind)
            some = posts.split("test") if look else posts.without_test()
            measured = _head_rows(some, head, model if look else None, recipe.most_rows)
            heads += measured
            rows[f"{posts.source} ({head.kind})"] = len(some)
    arms = read_arms(folder)
    parts = list(_stored_part(arms, model, recipe) if look else _held_out(arms, folder, recipe))
    rows["upworthy"] = sum(len(part.arms) for part in parts)
    of_heads = ["reactions", "order", "groups", "correlation"]
    of_stages = ["impressions", "arms", "log loss less smoothed rate", "pairs", "in order"]
    lines = [
        "Posts of one subreddit or page, by reactions: the mean over groups of Spearman's",
        f"correlation within the group, of groups with {_GROUP_POSTS} posts or more.",
        *("", *table(of_heads, heads, left=2), ""),
        "Headlines of one test after some impressions of each: the click rate of the rest, beside",
        "the smoothed rate, which gives each post the same prior. Log loss in 1e-4 nats an",
        "impression, below 0 where engagement is better; pairs are those of one test whose rates",
        "differ at the 5 % level.",
        *("", *table([*of_stages, "by smoothed rate"], _stage_rows(parts)), ""),
    ]
    return RankerEvaluation(card, lines, rows)


def _head_rows(
    posts: LabelledPosts, head: HeadRecipe, model: ExpectedClicks | None, most_rows: int
) -> list[list[str]]:
    """Measure the stored head of a model; without one, heads that had not learned the group."""
    if model is None:
        rows, posts = reaction_rows(posts, most_rows)
        folds = folds_of(posts.groups, SEED + 1)
        scores = head_scores(rows, folds, head.penalties)
    else:
        batch, kinds = TextBatch(posts.texts), media_kinds(posts.posts)
        scores = model.heads[head.kind].score(batch) + model.media[head.kind][kinds]
    columns = (
        (f"head `{head.kind}`", scores),
        ("newest first", np.array([post.created_at_ms for post in posts.posts], np.float64)),
        ("shuffle", np.random.default_rng(SEED).random(len(posts))),
    )
    groups = f"{len(set(posts.groups))}"
    return [
        [f"{head.kind}, {posts.source}", name, groups, str(correlation_within(values, posts))]
        for name, values in columns
    ]


@dataclass(frozen=True)
class _Part:
    """Arms that a prior had not learned, with the prior and the smoothed rate of the others."""

    arms: Arms
    priors: Values
    weight: float
    base: float
    base_weight: float

    @classmethod
    def of(
        cls, arms: Arms, priors: Values, weight: float, others: Arms, recipe: EngagementRecipe
    ) -> _Part:
        base = float(others.clicks.sum() / others.impressions.sum())
        constant = np.full(len(others), base)
        return cls(arms, priors, weight, base, fit_prior_weight(recipe, constant, thinned(others)))


def _stored_part(arms: Arms, model: ExpectedClicks, recipe: EngagementRecipe) -> Iterator[_Part]:
    in_test = in_test_split(arms)
    test = arms.where(in_test)
    priors = model.prior_many(posts_of_arms(test))
    yield _Part.of(test, priors, model.prior_weight, arms.where(~in_test), recipe)


def _held_out(arms: Arms, folder: Path, recipe: EngagementRecipe) -> Iterator[_Part]:
    """Yield the arms of each fold of tests, by a prior that was fitted on the other folds."""
    arms = arms.where(~in_test_split(arms))
    reactions = {
        head.kind: head.dataset.load(folder, head.kind).without_test()
        for head in recipe.heads
        if head.dataset is not None
    }
    heads, rows = fit_reaction_heads(recipe, reactions), arm_rows(arms)
    folds = folds_of(arms.tests, SEED + 1)
    for fold in np.unique(folds):
        out = folds == fold
        fitted = fit_prior(recipe, arms.where(~out), heads)
        priors = prior_of(fitted.base, fitted.lifts_of(rows.where(out)))
        yield _Part.of(arms.where(out), priors, fitted.prior_weight, arms.where(~out), recipe)


def _stage_rows(parts: Sequence[_Part]) -> list[list[str]]:
    random = np.random.default_rng(SEED + 3)
    rows = []
    for stage in _STAGES:
        gaps, rest, tests, ours, smoothed, of_pairs = [], [], [], [], [], []
        for part in parts:
            kept = part.arms.impressions >= 1.5 * stage + 100
            arms = part.arms.where(kept)
            seen = after_impressions(arms, np.full(len(arms), stage), random)
            counts = seen.clicks, seen.impressions
            values = posterior(part.priors[kept], *counts, part.weight)
            peer = posterior(np.full(len(arms), part.base), *counts, part.base_weight)
            gaps.append(log_losses(values, seen.rate) - log_losses(peer, seen.rate))
            rest.append(seen.rest)
            tests += arms.tests
            pairs = significant_pairs(arms)
            ours.append(_in_order(values, pairs))
            smoothed.append(_in_order(peer, pairs))
            of_pairs += [arms.tests[i] for i in pairs[:, 0]]
        if tests:
            loss = mean_figure(1e4 * np.concatenate(gaps), tests, np.concatenate(rest))
            orders = [mean_figure(np.concatenate(hits), of_pairs) for hits in (ours, smoothed)]
            counted = [f"{stage:,}", f"{len(tests):,}", str(loss), f"{len(of_pairs):,}"]
            rows.append([*counted, *map(str, orders)])
    return rows


def _in_order(values: Values, pairs: npt.NDArray[np.int64]) -> Values:
    """Return 1 for each pair whose first arm has the higher value, a half for a tie: (pairs,)."""
    first, second = values[pairs[:, 0]], values[pairs[:, 1]]
    return np.asarray((first > second) + 0.5 * (first == second))


# --- the page --------------------------------------------------------------------------------


def evaluate_rankers(
    names: Sequence[str], folder: Path, store: Store | None, *, look: bool
) -> list[RankerEvaluation]:
    """Measure rankers on the data sets in `folder`; on the test rows only with `look`.

    Raises `UsageError` where a file is missing, `BadArtifact` where a model is.
    """
    found = []
    for name in names:
        model, card = load(name, store), read_card(store or STORE, name)
        if isinstance(model, QualityModel):
            found.append(evaluate_quality(folder, model, card, look=look))
        elif isinstance(model, ExpectedClicks):
            found.append(evaluate_engagement(folder, model, card, ENGAGEMENT, look=look))
    return found


def page(found: Sequence[RankerEvaluation], *, look: bool) -> list[str]:
    """Return the lines of the page."""
    models = "Shipped models" if look else "Other models of the same recipes, cross-validated"
    lines = ["# The rankers", "", rows_measured(look=look)]
    lines += [f"{models}, beside orders that need no model.", "Intervals of 95 % draw groups.", ""]
    for evaluation in found:
        card = evaluation.card
        lines += [f"## {card.name}", "", f"{card.summary} Version `{card.version}`,"]
        lines += [f"[its card](models/{card.name}.md).", "", *evaluation.lines]
        lines += [*_CANNOT, *(f"- {weakness}" for weakness in card.weaknesses), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    options = page_options("the rankers").parse_args(arguments)
    look = options.look is not None
    found = evaluate_rankers([*RANKERS], options.data, options.model, look=look)
    rows = {source: count for evaluation in found for source, count in evaluation.rows.items()}
    log_page_look(options, [evaluation.card for evaluation in found], rows)
    write_page(options, "rankers", page(found, look=look), {})


if __name__ == "__main__":
    main()
