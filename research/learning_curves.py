"""What more groups, or other evidence, are worth where a bar is missed: docs/learning-curves.md.

``python research/learning_curves.py`` writes it, in minutes.  Training and
validation rows alone: no test row trains a model, chooses a threshold or is measured.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from health_posts import health_posts

from feedmill.events.gates import DEMOTE_AT
from feedmill.features.post_batch import PostBatch
from feedmill.features.registry import feature_columns
from feedmill.filters.model import FilterModel
from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import FilterSpec
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.evaluation.cross_validation import (
    HAND_WRITTEN,
    TrainingBudget,
    train_without,
)
from feedmill.training.evaluation.filter_metrics import filter_metrics
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.markdown import page_text, table
from feedmill.training.training_data import Dataset, TrainingData, read_training_data

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
_BUDGET = TrainingBudget(ordinary_rows=500)
_DETECTION = ("AUC", "caught at 0.6", "fine at 0.6")
_HEALTH = ("posts about health at 0.6", "COVID caught at 0.6")
_HEAD = """\
# Learning curves

Whether a bar of [filters.md](filters.md) is missed for want of data, of evidence, or of anything
that a text could tell. `make research` writes this page. Every figure is of training and validation
rows: models learn from training groups, thresholds are chosen on validation posts of ordinary
sources, and validation groups of the labelled set are measured, or all rows of a source that no
model learned from. So figures differ a little from those of the test rows. A curve takes nested
parts of the groups, whole ones, by a hash of their name; models read at most {rows:,} posts of each
ordinary source. Intervals are as in [filters.md](filters.md).
"""


class Point(NamedTuple):
    """One model: what it is, how many labelled or ordinary rows of how many groups made it."""

    what: str
    rows: int
    groups: int
    figures: tuple[Figure, ...]


class Curve(NamedTuple):
    """Models of more and more groups, then models that differ in something else."""

    title: str
    judged: str
    columns: tuple[str, ...]
    points: list[Point]


def some_groups(rows: LabelledPosts, fraction: float) -> LabelledPosts:
    """Return the rows of a fraction of the groups, at least one; a smaller one is part of it."""
    names = sorted(set(rows.groups), key=lambda name: hashlib.sha256(name.encode()).digest())
    kept = set(names[: max(1, round(fraction * len(names)))])
    return rows.where(np.array([group in kept for group in rows.groups], dtype=np.bool_))


def without_largest_group(rows: LabelledPosts) -> LabelledPosts:
    """Return the rows without the group that has most of the violating ones."""
    groups = np.array(rows.groups)
    largest = Counter(groups[rows.labels == 1].tolist()).most_common(1)[0][0]
    return rows.where(np.asarray(groups != largest))


def detection(model: FilterModel, rows: LabelledPosts) -> tuple[Figure, ...]:
    """Return the AUC, what is caught and which fine rows are demoted, `_DETECTION`."""
    metrics = filter_metrics(model.score_many(rows.posts), rows.labels == 1, rows.groups)
    return metrics.auc, metrics.caught_demoted, metrics.fine_demoted


def nsfw_curve(data: TrainingData) -> Curve:
    """Return what more subreddits are worth for those that nobody has seen."""
    spec, (dataset,) = FILTERS["nsfw"], data.labelled
    judged = without_largest_group(dataset.rows.split("validation"))
    train = dataset.rows.split("train")

    def point(what: str, rows: LabelledPosts, unread: frozenset[str] = frozenset()) -> Point:
        return _point(spec, _with(data, rows), judged, what, unread)

    points = [point(_part(f, "subreddits"), some_groups(train, f)) for f in FRACTIONS[:-1]]
    model, _ = train_without(spec, _with(data, train), judged, _BUDGET)
    kinds = [(_part(1, "subreddits"), judged), *_by_profanity(judged)]
    points += [
        Point(what, len(train), len(set(train.groups)), detection(model, rows))
        for what, rows in kinds
    ]
    evidence = (*spec.evidence.views[1:], *spec.evidence.groups)
    points += [point(f"all, without {name}", train, frozenset({name})) for name in evidence]
    title = "NSFW: Reddit without its largest subreddit"
    what = f"{len(judged):,} posts of {len(set(judged.groups))} unseen subreddits"
    return Curve(title, what, _DETECTION, points)


def _by_profanity(judged: LabelledPosts) -> Iterator[tuple[str, LabelledPosts]]:
    """Yield all fine rows beside the flagged ones with a word of the public lists, then without."""
    profane = feature_columns(PostBatch(judged.posts), "profanity").any(axis=1)
    flagged = judged.labels == 1
    for kind, mask in (("with", profane), ("without", ~profane)):
        share = (mask & flagged).sum() / flagged.sum()
        what = f"all; flagged posts {kind} a word of the public lists ({share:.0%} of them)"
        yield what, judged.where(~flagged | mask)


def sms_curve(data: TrainingData) -> Curve:
    """Return what groups of text messages are worth, from none: the set is left out then."""
    spec = FILTERS["spam"]
    comments, messages = (d.rows for d in data.labelled)
    judged, train = messages.split("validation"), messages.split("train")
    videos = comments.without_test()

    def point(
        what: str, parts: Sequence[LabelledPosts], unread: frozenset[str] = frozenset()
    ) -> Point:
        return _point(spec, _with(data, *parts), judged, what, unread)

    none = "left out: comments of"
    points = [
        point(f"{none} one video, without lexicon", [some_groups(videos, 0.5)], HAND_WRITTEN),
        point(f"{none} two videos, without lexicon", [videos], HAND_WRITTEN),
        point(f"{none} two videos, with lexicon", [videos]),
    ]
    for fraction in (1 / 16, *FRACTIONS[1:]):
        parts = [videos, some_groups(train, fraction)]
        points.append(point(f"and {_part(fraction, 'groups of messages')}", parts))
    points.append(point("all, without lexicon", [videos, train], HAND_WRITTEN))
    return Curve(
        "Spam: text messages, left out and caught",
        f"{len(judged)} messages, {int(judged.labels.sum())} of them spam",
        _DETECTION,
        points,
    )


def health_curve(data: TrainingData) -> Curve:
    """Return what ordinary posts of other sources do for posts about health of one left out."""
    spec = FILTERS["misinformation"]
    covid = data.labelled[0].rows
    own = next(d for d in data.ordinary if d.rows.source == "bluesky")
    others = [d for d in data.ordinary if d is not own]
    # No row of the source trains the models, so that more than its validation rows are unseen.
    about = health_posts(own.rows.without_test())
    caught_of = covid.split("validation").where(covid.split("validation").labels == 1)
    labelled = (
        replace(data.labelled[0], rows=covid.split("train")),
        *(replace(d, rows=d.rows.split("train")) for d in data.labelled[1:]),
    )

    def point(
        what: str, ordinary: Sequence[Dataset], sets: tuple[Dataset, ...] = labelled
    ) -> Point:
        model, _ = train_without(spec, TrainingData(sets, tuple(ordinary)), about, _BUDGET)
        parts = [d.rows.split("train") for d in ordinary]
        groups = len({group for rows in parts for group in rows.groups})
        figures = (_demoted(model, about), _demoted(model, caught_of))
        return Point(what, sum(map(len, parts)), groups, figures)

    points = [
        point(f"{_part(f, 'groups')} of the other sources", [_fewer(d, f) for d in others])
        for f in FRACTIONS
    ]
    points.append(point("all, and other authors of Bluesky", data.ordinary))
    for left_set in labelled:
        kept_sets = tuple(d for d in labelled if d is not left_set)
        what = f"all, without the claims of {left_set.rows.source}"
        points.append(point(what, others, kept_sets))
    return Curve(
        "Misinformation: posts of Bluesky about health, the source left out",
        f"{len(about)} posts about health, {len(caught_of)} false claims about COVID",
        _HEALTH,
        points,
    )


def _with(data: TrainingData, *rows: LabelledPosts) -> TrainingData:
    """Return the data with these labelled rows instead, each of the data set of its source."""
    known = {d.rows.source: d for d in data.labelled}
    return replace(data, labelled=tuple(replace(known[part.source], rows=part) for part in rows))


def _fewer(dataset: Dataset, fraction: float) -> Dataset:
    """Leave away training groups; those that choose thresholds stay."""
    rows = dataset.rows
    parts = [some_groups(rows.split("train"), fraction), rows.split("validation")]
    return replace(dataset, rows=replace(concatenate(parts), source=rows.source))


def _part(fraction: float, what: str) -> str:
    return f"all {what}" if fraction == 1 else f"1/{round(1 / fraction)} of the {what}"


def _point(
    spec: FilterSpec,
    data: TrainingData,
    judged: LabelledPosts,
    what: str,
    unread: frozenset[str] = frozenset(),
) -> Point:
    model, _ = train_without(spec, data, judged, replace(_BUDGET, unread=unread))
    rows = concatenate([d.rows for d in data.labelled])
    return Point(what, len(rows), len(set(rows.groups)), detection(model, judged))


def _demoted(model: FilterModel, rows: LabelledPosts) -> Figure:
    every = np.ones(len(rows), dtype=np.bool_)
    return Bootstrap(rows.groups).fraction(model.score_many(rows.posts) >= DEMOTE_AT, every)


def curve_lines(curve: Curve) -> list[str]:
    """Return a curve as Markdown."""
    rows = [[p.what, f"{p.rows:,}", f"{p.groups:,}", *map(str, p.figures)] for p in curve.points]
    header = ["learned from", "rows", "groups", *curve.columns]
    return [f"## {curve.title}", "", f"Judged on {curve.judged}.", "", *table(header, rows), ""]


def sections(folder: Path) -> Iterator[list[str]]:
    """Yield the lines of each section, of the data sets in a folder.

    Raises `UsageError` where one is missing.
    """
    yield [*_HEAD.format(rows=_BUDGET.ordinary_rows).splitlines(), ""]
    nsfw, spam, misinformation = (
        read_training_data(FILTERS[name], [str(folder)], [])
        for name in ("nsfw", "spam", "misinformation")
    )
    yield curve_lines(sms_curve(spam))
    yield curve_lines(nsfw_curve(nsfw))
    yield curve_lines(health_curve(misinformation))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Write the learning curves of the filters.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    lines: list[str] = []
    # Section by section, so that nothing is lost of a run that is ended.
    for section in sections(options.data):
        lines += section
        (options.docs / "learning-curves.md").write_text(page_text(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
