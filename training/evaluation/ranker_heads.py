"""Evaluate the heads of engagement that learn from counts of reactions: order within groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from feedmill.features.media import media_kinds
from feedmill.features.text.ngrams import TextBatch
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.ranker_metrics import ndcg, within_group_correlations
from feedmill.training.evaluation.ranker_report import (
    RankerBar,
    RankerEvaluation,
    Section,
    group_figure,
    length_slices,
)
from feedmill.training.evaluation.slices import language_of
from feedmill.training.fitting.engagement import reaction_rows
from feedmill.training.fitting.heads import head_scores
from feedmill.training.fitting.linear_text import TextRows, cross_fitted
from feedmill.training.fitting.ngram_models import SEED, fit_ridge, folds_of
from feedmill.training.ranker_recipes import HeadRecipe

LATER = 0.75
_FRACTIONS = (0.25, 0.5)
_HOURS = ((0, 6), (6, 12), (12, 18), (18, 24))
_HOUR_MS = 3_600_000
# Media may cost so much of a correlation at most: the lower end of the paired difference.
_MOST_LOST = -0.005
_DAY_HOURS = 24


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
    evaluation.bars.extend(
        (
            RankerBar(f"{name}, groups never trained", figures[0], 0.15, 0.15),
            RankerBar(f"{name}, later posts of known groups", figures[1], 0.20, 0.20),
        )
    )
    if head.penalties.media is not None:
        texts = cross_fitted(partial(head_scores, head.penalties), replace(rows, media=None), folds)
        without = within_group_correlations(texts, rows.values, rows.groups)
        gain = group_figure(new - without)
        evaluation.bars.append(
            RankerBar(f"{name}, groups never trained, less without media", gain, low=_MOST_LOST)
        )
    _add_learning_curve(head, posts.source, rows, is_later, figures[1], evaluation)
    shuffled = np.random.default_rng(SEED).permutation(len(rows)).astype(np.float64)
    baseline = [
        group_figure(within_group_correlations(scores, rows.values, rows.groups))
        for scores in (at, shuffled)
    ]
    evaluation.sections.append(
        Section(
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
    )


def _add_learning_curve(
    head: HeadRecipe,
    source: str,
    rows: TextRows,
    is_later: Mask,
    whole: Figure,
    evaluation: RankerEvaluation,
) -> None:
    """Add what later posts of known groups gain by more earlier ones, and by which columns."""
    earlier, later = rows.where(~is_later), rows.where(is_later)
    chance = np.random.default_rng(SEED + 5).random(len(earlier))
    found: list[tuple[str, int, Figure]] = []

    def add(name: str, train: TextRows, test: TextRows) -> None:
        scores = head_scores(head.penalties, train, test)
        correlations = within_group_correlations(scores, test.values, test.groups)
        found.append((name, len(train), group_figure(correlations)))

    for fraction in _FRACTIONS:
        part = earlier.where(chance < fraction)
        add(f"{fraction:.0%} of the earlier posts", part, later)
    found.append(("all of them", len(earlier), whole))
    ngrams = ngrams_alone(earlier, later, head)
    alone = group_figure(within_group_correlations(ngrams, later.values, later.groups))
    found.append(("all of them, n-grams alone", len(earlier), alone))
    texts = [replace(part, media=None) for part in (earlier, later)]
    if head.penalties.media is not None:
        add("all of them, without media", *texts)
    add("all of them, shape alone", *(replace(part, matrix=part.matrix * 0) for part in texts))
    evaluation.sections.append(
        Section(
            f"Learning curve and ablation, `{head.kind}`, {source}",
            "Later posts of known groups, the correlation within the group.",
            ("trained on", "posts", "correlation"),
            [(name, f"{count:,}", str(figure)) for name, count, figure in found],
        )
    )


def evaluate_more_posts(
    posts: LabelledPosts, head: HeadRecipe, most_rows: int, evaluation: RankerEvaluation
) -> None:
    """Compare a head of at most so many posts with one of all, paired on the same posts.

    `posts` are those that may train.  Adds nothing where they are no more.
    """
    rows, kept = reaction_rows(posts, len(posts))
    if len(rows) <= most_rows:
        return
    is_later = _later_of_groups(rows, kept)
    some = np.random.default_rng(SEED + 6).random(len(rows)) < most_rows / len(rows)
    folds = folds_of(kept.groups, SEED + 1)
    table = []
    for name, known in (
        ("later posts of known groups", [is_later]),
        ("groups never trained", [folds == fold for fold in np.unique(folds)]),
    ):
        scores = np.zeros((2, len(rows)))
        for out in known:
            for column, trained in enumerate((some, np.ones(len(rows), dtype=np.bool_))):
                train = rows.where(trained & ~out)
                scores[column, out] = head_scores(head.penalties, train, rows.where(out))
        tested = np.any(known, axis=0)
        fewer, more = (
            within_group_correlations(column[tested], rows.values[tested], rows.groups[tested])
            for column in scores
        )
        table.append((name, *(str(group_figure(one)) for one in (fewer, more, more - fewer))))
    evaluation.sections.append(
        Section(
            f"Head `{head.kind}` from more posts, {posts.source}",
            f"Of the {len(rows):,} posts that may train, {most_rows:,} on average, or all of them; "
            "the correlation within the group.",
            ("tested on", f"{most_rows:,}", f"{len(rows):,}", "gain"),
            table,
        )
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
    evaluation.sections.append(
        Section(
            f"Stored model, test groups, {head.kind} ({posts.source})",
            "nDCG@10 within the group, the gain being log(1 + reactions).",
            ("order", "groups", "correlation", "nDCG@10"),
            table,
        )
    )
    _add_slices(posts, head, scores_of_head, evaluation)


def _add_slices(
    posts: LabelledPosts, head: HeadRecipe, scores: Values, evaluation: RankerEvaluation
) -> None:
    """Add how test groups differ, and the order within groups by hour, length and language."""
    groups = np.array(posts.groups)
    each = within_group_correlations(scores, posts.labels, groups)
    low, middle, high = np.quantile(each, (0.0, 0.5, 1.0)) if len(each) else (np.nan,) * 3
    table = [
        (
            f"{len(each)} communities: lowest, median, highest",
            f"{len(posts):,}",
            f"{low:.3f}, {middle:.3f}, {high:.3f}",
        )
    ]
    for name, inside in _slices_of(posts):
        found = within_group_correlations(scores[inside], posts.labels[inside], groups[inside])
        if len(found):
            of_groups = f"{name}, {len(found)} communities"
            table.append((of_groups, f"{int(inside.sum()):,}", str(group_figure(found))))
    evaluation.sections.append(
        Section(
            f"Slices of head `{head.kind}`, test groups of {posts.source}",
            "The correlation within a community; by hour, length and language its mean over those "
            "with 20 posts.",
            ("slice", "posts", "correlation"),
            table,
        )
    )


def _slices_of(posts: LabelledPosts) -> Iterator[tuple[str, Mask]]:
    """Yield the posts of each part of the day, range of lengths, and language or script."""
    hours = np.array([post.created_at_ms // _HOUR_MS % _DAY_HOURS for post in posts.posts])
    for first, end in _HOURS:
        yield f"{first} to {end} h UTC", (hours >= first) & (hours < end)
    yield from length_slices(posts.texts)
    languages = np.array([language_of(post) for post in posts.posts], dtype=np.str_)
    for name in np.unique(languages).tolist():
        yield name, languages == name


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
