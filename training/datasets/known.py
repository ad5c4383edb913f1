"""The data sets of the data folder that models of this repository are trained and evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
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


def _table(path: str, name: str, **columns: str) -> Table:
    given: dict[str, Any] = {"text": "text", "name": name, "family": name, **columns}
    return Table(Path(path), **given)


YOUTUBE = KnownDataset(
    _table(
        *("spam_youtube.csv.gz", "youtube"),
        label="label",
        group="video",
        author="author",
        time="date",
    ),
    "UCI: CC BY 4.0",
)
SMS = KnownDataset(
    _table("spam_sms_uci.csv.gz", "sms", label="label"), "free for all purposes (authors)"
)
OVER18 = KnownDataset(
    _table(
        *("nsfw_reddit_over18.csv.gz", "reddit_over18"),
        label="label",
        group="subreddit",
        community="subreddit",
        time="created_utc",
        link="domain",
        family="reddit",
    ),
    "PDDL 1.0",
)
COVID = KnownDataset(
    _table("misinfo_constraint_covid.csv.gz", "covid", label="label"), "MIT repository"
)
FAKENEWSNET = KnownDataset(
    _table(
        *("misinfo_fakenewsnet_titles.csv.gz", "fakenewsnet"),
        label="label",
        group="domain",
        link="url",
    ),
    "none stated",
)

# Posts that nobody labelled; where there is a label, it is Reddit's flag over_18.
ORDINARY: tuple[KnownDataset, ...] = (
    KnownDataset(
        _table(
            *("engagement_reddit_top.csv.gz", "reddit"),
            text="title+selftext",
            label="over_18",
            group="subreddit",
            community="subreddit",
            time="created_utc",
            link="domain",
        ),
        "PDDL 1.0",
        labelled=False,
    ),
    KnownDataset(
        _table(
            *("engagement_facebook_news.csv.gz", "facebook"),
            text="message",
            group="page_id",
            author="page_id",
            time="created_time",
            link="link",
        ),
        "none stated",
        labelled=False,
    ),
    KnownDataset(
        _table(
            *("engagement_hackernews20k.csv.gz", "hackernews"),
            text="title",
            group="author",
            author="author",
            time="created_at",
            time_format="%m/%d/%Y %H:%M",
            link="url",
        ),
        "none stated",
        labelled=False,
    ),
    KnownDataset(
        _table(
            *("engagement_bluesky_a.csv.gz", "bluesky"),
            group="author",
            author="author",
            time="createdAt",
        ),
        "none stated",
        labelled=False,
    ),
)
# Answers in a forum, longer than most posts; nobody labelled whether they violate.
SEMEVAL = KnownDataset(
    _table("quality_semeval_cqa.csv.gz", "semeval", group="question_subject"),
    "none stated",
    labelled=False,
)
# Every data set by its file's name.
KNOWN = {
    known.file: known for known in (YOUTUBE, SMS, OVER18, COVID, FAKENEWSNET, SEMEVAL, *ORDINARY)
}
