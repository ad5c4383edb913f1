"""Evaluate versions of quality on ratings: their order, and their distance from the labels.

Rows that a version learned, and those that share its groups or texts with them, are left out.  Of
a file that it learned in part the other rows are test rows, which count if this is a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy.stats import rankdata

from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard, sha256_of_file
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Values, Weights
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.datasets.snapshots import name_of, read_snapshot
from feedmill.training.evaluation.filter_evaluation import page_text, table
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.recipes import QUALITY
from feedmill.training.training_data import Dataset, read_file


class RatedFile(NamedTuple):
    """Rated posts, and what cards call the file that they are of."""

    posts: LabelledPosts
    file: str
    sha256: str
    split_rule: str

    @classmethod
    def of(cls, dataset: Dataset) -> RatedFile:
        """Name the rows of a data set."""
        known = dataset.known
        return cls(dataset.rows, known.file, dataset.sha256, known.table.split_rule)


class StoredVersion(NamedTuple):
    """A version of quality, its card, and the store that has it."""

    model: TextModel
    card: ModelCard
    store: Store


class RatingFigures(msgspec.Struct, frozen=True):
    """How a version rates posts, or how much more than another one: order and squared error.

    The order is Spearman's correlation of values and labels, the squared error its mean.
    """

    version: str
    order: Figure
    squared_error: Figure


class RatingReport(msgspec.Struct, frozen=True):
    """The figures of each version on one file, and of the first less the second."""

    source: str
    rows: int
    learned: int
    versions: list[RatingFigures]
    difference: RatingFigures | None = None


def read_rated_files(data: Sequence[str]) -> list[RatedFile]:
    """Read files of ratings as `read_file` does; a folder stands for the recipe's in it.

    Raises `UsageError`.
    """
    found = []
    for given in data:
        if not Path(given).is_dir():
            found.append(RatedFile.of(read_file(given, labelled=True, rated=True)))
            continue
        for construct in QUALITY.constructs:
            rated, file = construct.dataset, f"{construct.dataset.file}.csv.gz"
            posts = rated.load(Path(given))
            digest = sha256_of_file(Path(given) / file)
            found.append(RatedFile(posts, file, digest, rated.split_rule))
    return found


def evaluate_ratings(
    versions: Sequence[StoredVersion], files: Sequence[RatedFile], *, look: bool
) -> list[RatingReport]:
    """Evaluate one version, or two on the same rows.

    Raises `UsageError`: no row of a file is left.
    """
    return [_report(versions, file, look=look) for file in files]


def _report(versions: Sequence[StoredVersion], file: RatedFile, *, look: bool) -> RatingReport:
    learned = [rows for version in versions if (rows := _learned(version, file)) is not None]
    given = file.posts if look or not learned else file.posts.without_test()
    rows = drop_leaked(given, learned)
    if not len(rows):
        way_out = "" if look else "; --look WHY measures on its test rows, if it has any"
        raise UsageError(f"`{file.posts.source}`: all its rows trained the model{way_out}")
    names = [f"{version.card.name}@{version.card.version}" for version in versions]
    scores = [version.model.score_many(rows.posts) for version in versions]
    found = Bootstrap(rows.groups).figures(lambda weights: _measured(scores, rows.labels, weights))
    pairs = [RatingFigures(name, *found[2 * n : 2 * n + 2]) for n, name in enumerate(names)]
    difference = RatingFigures(f"{names[0]} less {names[1]}", *found[4:]) if names[1:] else None
    dropped = len(file.posts) - len(rows)
    return RatingReport(file.posts.source, len(rows), dropped, pairs, difference)


def _learned(version: StoredVersion, file: RatedFile) -> LabelledPosts | None:
    """Return the rows of a file that a version learned; None: the card does not name the file."""
    for use in version.card.data:
        if use.file != file.file and (not use.sha256 or use.sha256 != file.sha256):
            continue
        if use.split == file.split_rule:
            return file.posts.without_test()
        if use.snapshot is not None and isinstance(version.store, Path):
            kept = read_snapshot(version.store / name_of(use.snapshot.sha256))
            if kept is not None:
                return kept[0]
        return file.posts
    return None


def _measured(scores: Sequence[Values], labels: Values, weights: Weights) -> Values:
    """Return order and error of each version, then the difference: (draws, figures).

    `weights` are (draws, rows).  Ranks are those among all rows.
    """
    ranks = rankdata(labels)
    of_each: list[Values] = [
        np.stack(
            [
                _correlation(rankdata(values), ranks, weights),
                weights @ (values - labels) ** 2 / weights.sum(axis=1),
            ],
            axis=1,
        )
        for values in scores
    ]
    if len(of_each) > 1:
        of_each.append(of_each[0] - of_each[1])
    return np.concatenate(of_each, axis=1)


def _correlation(x: Values, y: Values, weights: Weights) -> Any:
    """Return the weighted correlation of (rows,) values in each draw, NaN where one is constant."""
    total = weights.sum(axis=1)
    means = weights @ x / total, weights @ y / total
    together = weights @ (x * y) / total - means[0] * means[1]
    spreads = [weights @ v**2 / total - mean**2 for v, mean in zip((x, y), means, strict=True)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return together / np.sqrt(spreads[0] * spreads[1])


def as_markdown(reports: Sequence[RatingReport]) -> str:
    """Return the evaluation as a page."""
    rows = [
        [report.source, f"{report.rows:,}", of.version, str(of.order), str(of.squared_error)]
        for report in reports
        for of in (*report.versions, *([report.difference] if report.difference else []))
    ]
    head = ["ratings", "posts", "version", "rank correlation", "squared error"]
    return page_text(table(head, rows, left=1))
