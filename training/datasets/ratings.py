"""Texts that people rated: headlines by how little they bait, answers by how much they help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feedmill.models.artifact import DataUse, sha256_of_file
from feedmill.training.datasets.labelled_posts import (
    EDITION,
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    opening_words,
    read_csv_rows,
)
from feedmill.training.datasets.tables import parse_table, read_table

Row = dict[str, str]
_GRADES = {"Good": 1.0, "PotentiallyUseful": 0.5, "Bad": 0.0}


@dataclass(frozen=True)
class RatedDataset:
    """A file of the data folder with rated texts.

    Attributes
    ----------
    source, file
        What reports call it, and the file's name without ``.csv.gz``.
    family
        Data sets of one family share their groups.
    group
        The column of a row's group; "" where its first words are the group.
    rating
        Makes of a row its mean rating in [0, 1], 1 the best.
    licence
        As stated.
    """

    source: str
    file: str
    family: str
    group: str
    rating: Callable[[Row], float]
    licence: str

    @property
    def split_rule(self) -> str:
        """How its rows are divided into train, validation and test, as a card states it."""
        return f"{self.family}, by {self.group or 'the first words of a text'}, {EDITION}"

    def load(self, folder: Path) -> LabelledPosts:
        """Read the texts, each labelled by its rating; raises `UsageError`."""
        rows = (
            LabelledRow(
                row["text"],
                self.rating(row),
                row[self.group] if self.group else opening_words(row["text"]),
            )
            for row in read_csv_rows(folder, self.file)
        )
        return labelled_posts(self.source, self.family, rows)


CLICKBAIT = RatedDataset(
    "clickbait32k",
    "quality_clickbait32k",
    "clickbait",
    "",
    lambda row: 1 - float(row["label"]),
    "MIT",
)
WEBIS = RatedDataset(
    "webis",
    "quality_webis_clickbait17",
    "clickbait",
    "",
    lambda row: 1 - float(row["truth_mean"]),
    "MIT repository",
)
SEMEVAL = RatedDataset(
    "semeval",
    "quality_semeval_cqa",
    "semeval",
    "question_id",
    lambda row: _GRADES[row["rating"]],
    "none stated",
)


def read_own_ratings(given: str) -> tuple[LabelledPosts, DataUse]:
    """Read a product's own ratings from ``PATH[,text=COLUMN][,label=COLUMN]…``, 1 for good.

    Raises `UsageError`.
    """
    table = parse_table(given)
    posts = read_table(table, labelled=True)
    digest = sha256_of_file(table.path)
    rows = len(posts.without_test())
    return posts, DataUse(table.path.name, rows, "not stated", "rated", digest, table.split_rule)
