"""Evaluate the heads of engagement that learn from counts of reactions: order within groups."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
from ranker_figures import (
    RankerEvaluation,
    group_figure,
    ndcg,
    within_group_correlations,
)

from feedmill.features.media import media_kinds
from feedmill.features.text.ngrams import TextBatch
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.fitting.engagement import reaction_rows
from feedmill.training.fitting.heads import head_scores
from feedmill.training.fitting.linear_text import TextRows, cross_fitted
from feedmill.training.fitting.ngram_models import SEED, fit_ridge, folds_of
from feedmill.training.ranker_recipes import HeadRecipe

LATER = 0.75
# Media may cost so much of a correlation at most: the lower end of the paired difference.
_MOST_LOST = -0.005


def evaluate_head(
    posts: LabelledPosts, head: HeadRecipe, most_rows: int, evaluation: RankerEvaluation
) -> None:
    """Order posts of groups never trained, and later posts of known groups."""
    rows, kept = reaction_rows(posts, most_rows)
    at = np.array([post.created_at_ms for post in kept.posts], dtype=np.float64)
    folds = folds_of(kept.groups, SEED + 1)
    unseen = cross_fitted(partial(head_scores, head.penalties), rows, folds)
    is_later = _later_of_groups(rows, kept)
    known = head_scores(head.penalties, rows.where(~is_later), rows.where(is_later))
    new = within_group_correlations(unseen, rows.values, rows.groups)
    later = within_group_correlations(known, rows.values[is_later], rows.groups[is_later])
    figures = group_figure(new), group_figure(later)
    name = f"{head.kind} ({posts.source})"
    evaluation.expect(f"{name}, groups never trained", figures[0], least=0.15, low=0.15)
    evaluation.expect(f"{name}, later posts of known groups", figures[1], least=0.20, low=0.20)
    if head.penalties.media is not None:
        texts = cross_fitted(partial(head_scores, head.penalties), replace(rows, media=None), folds)
        without = within_group_correlations(texts, rows.values, rows.groups)
        gain = group_figure(new - without)
        evaluation.expect(f"{name}, groups never trained, less without media", gain, low=_MOST_LOST)
    shuffled = np.random.default_rng(SEED).permutation(len(rows)).astype(np.float64)
    baseline = [
        group_figure(within_group_correlations(scores, rows.values, rows.groups))
        for scores in (at, shuffled)
    ]
    evaluation.add(
        f"Head `{head.kind}`, {posts.source}",
        "The mean over groups of Spearman's correlation within the group.",
        ("posts", "groups", "correlation"),
        [
            ("groups never trained", f"{len(new)}", str(figures[0])),
            ("later posts of known groups", f"{len(later)}", str(figures[1])),
            ("newest first", f"{len(new)}", str(baseline[0])),
            ("shuffle", f"{len(new)}", str(baseline[1])),
        ],
    )


def _later_of_groups(rows: TextRows, kept: LabelledPosts) -> Mask:
    """Return which rows are of the last quarter of the time of their group: (rows,)."""
    at = np.array([post.created_at_ms for post in kept.posts], dtype=np.float64)
    is_later = np.zeros(len(rows), dtype=np.bool_)
    for name in np.unique(rows.groups):
        inside = rows.groups == name
        is_later |= inside & (at > np.quantile(at[inside], LATER))
    return is_later


def evaluate_stored_head(
    posts: LabelledPosts, head: HeadRecipe, model: ExpectedClicks, evaluation: RankerEvaluation
) -> None:
    """Order test posts by the stored head, and by the prior that all heads make."""
    evaluation.rows.append((f"{posts.source} ({head.kind})", len(posts)))
    batch, kinds = TextBatch(posts.texts), media_kinds(posts.posts)
    groups = np.array(posts.groups)
    text = model.heads[head.kind].score(batch)
    scores_of_head = text + model.media[head.kind][kinds]
    each = within_group_correlations(scores_of_head, posts.labels, groups)
    quantiles = np.quantile(each, (0.0, 0.5, 1.0)) if len(each) else ()
    of_groups = ", ".join(f"{found:.3f}" for found in quantiles) or "none is large enough"
    columns: list[tuple[str, Values]] = [
        (f"head `{head.kind}`", scores_of_head),
        ("the prior, all heads", model.lift.score(batch) + model.media_lift[kinds]),
    ]
    if model.media[head.kind].any():
        columns.insert(1, ("the head without media", text))
        columns.append(("the prior without media", model.lift.score(batch)))
    table = []
    for name, scores in columns:
        found = within_group_correlations(scores, posts.labels, groups)
        table.append(
            (name, f"{len(found)}", str(group_figure(found)), _ndcg(scores, posts, groups))
        )
    chance = np.random.default_rng(SEED).permutation(len(posts)).astype(np.float64)
    table.append(("shuffle", "", "", _ndcg(chance, posts, groups)))
    evaluation.add(
        f"Stored model, test groups, {head.kind} ({posts.source})",
        "nDCG@10 within the group, the gain being log(1 + reactions). The head's lowest, median "
        f"and highest correlation of a group: {of_groups}.",
        ("order", "groups", "correlation", "nDCG@10"),
        table,
    )


def _ndcg(scores: Values, posts: LabelledPosts, groups: npt.NDArray[np.str_]) -> str:
    gains = np.log1p(posts.labels)
    values = [
        ndcg(scores[groups == name], gains[groups == name])
        for name in np.unique(groups)
        if (groups == name).sum() >= 20
    ]
    return f"{np.mean(values):.3f}" if values else ""


def ngrams_alone(train: TextRows, test: TextRows, head: HeadRecipe) -> Values:
    """Score rows by the n-grams of a head alone, fitted on other rows: (test,)."""
    model = fit_ridge(train.matrix, train.values, train.weights, head.penalties.ngrams)
    return np.asarray(test.matrix @ model.real_weights, dtype=np.float64)
