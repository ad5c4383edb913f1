"""The data sets of the data folder that models of this repository are trained and evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import Table, read_table


@dataclass(frozen=True)
class KnownDataset:
    """A file of the data folder: how to read it, and its licence as stated."""

    table: Table
    licence: str
    labelled: bool = True

    @property
    def file(self) -> str:
        """The file's name in the folder."""
        return self.table.path.name

    def load(self, folder: Path) -> LabelledPosts:
        """Read it from a folder; raises `UsageError` where it is missing or cannot be read."""
        return read_table(self.table.within(folder), labelled=self.labelled)


def _known(of: tuple[str, str, str], **columns: str) -> KnownDataset:
    """Describe a file by its name, what reports call it, its licence, and its columns."""
    file, name, licence = of
    given: dict[str, Any] = {"text": "text", "name": name, "family": name, **columns}
    return KnownDataset(Table(Path(f"{file}.csv.gz"), **given), licence)


def _ordinary(of: tuple[str, str, str], **columns: str) -> KnownDataset:
    return replace(_known(of, **columns), labelled=False)


YOUTUBE = _known(
    ("spam_youtube", "youtube", "UCI: CC BY 4.0"),
    label="label",
    group="video",
    author="author",
    time="date",
)
SMS = _known(("spam_sms_uci", "sms", "free for all purposes (authors)"), label="label")
OVER18 = _known(
    ("nsfw_reddit_over18", "reddit_over18", "PDDL 1.0"),
    label="label",
    group="subreddit",
    community="subreddit",
    time="created_utc",
    link="domain",
    family="reddit",
)
COVID = _known(("misinfo_constraint_covid", "covid", "MIT repository"), label="label")
FAKENEWSNET = _known(
    ("misinfo_fakenewsnet_titles", "fakenewsnet", "none stated"),
    label="label",
    group="domain",
    link="url",
)

# Posts that nobody labelled; where there is a label, it is Reddit's flag over_18.
ORDINARY: tuple[KnownDataset, ...] = (
    _ordinary(
        ("engagement_reddit_top", "reddit", "PDDL 1.0"),
        text="title+selftext",
        label="over_18",
        group="subreddit",
        community="subreddit",
        time="created_utc",
        link="domain",
    ),
    _ordinary(
        ("engagement_facebook_news", "facebook", "none stated"),
        text="message",
        group="page_id",
        author="page_id",
        time="created_time",
        link="link",
    ),
    _ordinary(
        ("engagement_hackernews20k", "hackernews", "none stated"),
        text="title",
        group="author",
        author="author",
        link="url",
        time="created_at",
        time_format="%m/%d/%Y %H:%M",
    ),
    _ordinary(
        ("engagement_bluesky_a", "bluesky", "none stated"),
        group="author",
        author="author",
        time="createdAt",
    ),
)
# Answers in a forum, longer than most posts; nobody labelled whether they violate.
SEMEVAL = _ordinary(("quality_semeval_cqa", "semeval", "none stated"), group="question_subject")
# Every data set by its file's name.
KNOWN = {
    known.file: known for known in (YOUTUBE, SMS, OVER18, COVID, FAKENEWSNET, SEMEVAL, *ORDINARY)
}
