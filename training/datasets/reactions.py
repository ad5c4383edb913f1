"""How people reacted to public posts: the counts of one kind of reaction, with the post's group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedmill.events.post import Media
from feedmill.features.hosts import host_of
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import (
    EDITION,
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    read_csv_rows,
    unix_ms,
)

# A group needs so many rows to say what is usual in it.
LEAST_ROWS_OF_GROUP = 5
# Where the pages of the data set are, and what they upload.
_PLATFORM = "facebook.com"


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
_UPLOADS = {"photos": "image", "photo.php": "image", "videos": "video", "video.php": "video"}


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
