"""The data sets of the rankers: texts that people rated, and posts with counts of reactions.

Headlines are rated by how little they bait, answers by how much they help.  Reactions are the
counts of one kind of reaction to public posts, with the post's group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedmill.events.post import Media
from feedmill.features.hosts import host_of
from feedmill.models.artifact import DataUse, sha256_of_file
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import (
    EDITION,
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    opening_words,
    read_csv_rows,
    unix_ms,
)
from feedmill.training.datasets.tables import parse_table, read_table

Row = dict[str, str]
_GRADES = {"Good": 1.0, "PotentiallyUseful": 0.5, "Bad": 0.0}

# A group needs so many rows to say what is usual in it.
LEAST_ROWS_OF_GROUP = 5
# Where the pages of the data set are, and what they upload.
_PLATFORM = "facebook.com"
_UPLOADS = {"photos": "image", "photo.php": "image", "videos": "video", "video.php": "video"}


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
    posts = read_table(table, labelled=True, rated=True)
    digest = sha256_of_file(table.path)
    rows = len(posts.without_test())
    return posts, DataUse(table.path.name, rows, "not stated", "rated", digest, table.split_rule)


@dataclass(frozen=True)
class ReactionDataset:
    """A file of the data folder with counts of reactions.

    Attributes
    ----------
    source, file
        What reports call it, and the file's name without ``.csv.gz``.
    text, group, time
        Columns; `text` may be several, joined by a blank.
    counts
        The column of each kind of reaction.
    licence
        As stated.
    link
        The column of the address that a post shows, empty where it shows none; "" where the data
        set does not say.  Pictures and videos of its own are by their address on the platform.
    """

    source: str
    file: str
    text: tuple[str, ...]
    group: str
    time: str
    counts: Mapping[str, str]
    licence: str
    link: str = ""

    @property
    def split_rule(self) -> str:
        """How its rows are divided into train, validation and test, as a card states it."""
        return f"{self.source}, by {self.group}, {EDITION}"

    def load(self, folder: Path, kind: str) -> LabelledPosts:
        """Read the posts, each labelled by its number of reactions of a kind.

        Raises `UsageError` where the file is missing.
        """
        rows = (
            LabelledRow(
                " ".join(filter(None, (row[column] for column in self.text))),
                float(row[self.counts[kind]] or 0),
                row[self.group],
                created_at_ms=_time_ms(row[self.time]),
                links=links,
                media=media,
            )
            for row in read_csv_rows(folder, self.file)
            for links, media in [self.shown(row)]
        )
        return labelled_posts(self.source, self.source, rows)

    def shown(self, row: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[Media, ...] | None]:
        """Return links and media of a row; None for media where the data set does not say."""
        if self.link not in row:
            return (), None
        url = row[self.link].strip()
        if kind := _kind_of_upload(url):
            return (), (Media(url, kind),)
        return (url,) if url else (), ()


REDDIT = ReactionDataset(
    "reddit",
    "engagement_reddit_top",
    ("title", "selftext"),
    "subreddit",
    "created_utc",
    {"reply": "num_comments"},
    "PDDL 1.0",
)
FACEBOOK = ReactionDataset(
    "facebook",
    "engagement_facebook_news",
    ("message",),
    "page_id",
    "created_time",
    {"like": "react_like", "share": "shares"},
    "none stated",
    link="link",
)


def _kind_of_upload(url: str) -> str | None:
    """Return what a page uploaded to the platform itself: a picture or a video, None for others."""
    if host_of(url) != _PLATFORM:
        return None
    found = (_UPLOADS.get(part) for part in url.partition("?")[0].split("/"))
    return next(filter(None, found), None)


def _time_ms(text: str) -> int:
    """Return a time as Unix milliseconds: seconds since 1970, or ISO 8601."""
    return round(float(text) * 1000) if text.replace(".", "").isdigit() else unix_ms(text)


def within_group_targets(rows: LabelledPosts) -> Values:
    """Return how many reactions a post got beside its group: (rows,), of unit deviation.

    It is log(1 + reactions) less the mean of the group, so that no model of it learns how large a
    group is; not a number in groups of fewer than `LEAST_ROWS_OF_GROUP` rows.
    """
    logs = np.log1p(rows.labels)
    group_of = np.unique(np.array(rows.groups), return_inverse=True)[1]
    sizes = np.bincount(group_of)
    centred = logs - (np.bincount(group_of, logs) / sizes)[group_of]
    centred[sizes[group_of] < LEAST_ROWS_OF_GROUP] = np.nan
    deviation = float(np.nanstd(centred)) if np.isfinite(centred).any() else 0.0
    return centred / (deviation or 1.0)
