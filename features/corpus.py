"""Labelled posts for training and judging, read from files; never needed online.

A row is a `Post` like those of the topic `posts`, so that training, judging and a live stage see
the very same thing.  Its id is ``<source>-<row number>``: reports name that, never its text.

Groups (subreddit, video, domain, page, author, test) are never split: `part_of` puts a whole group
into ``train``, ``tune`` (thresholds, calibration) or ``judge`` (only ever measured), by a hash.
"""

from __future__ import annotations

import csv
import gzip
import html
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_ID_BYTES
from feedmill.events.post import Post

Part = Literal["train", "tune", "judge"]
PARTS: tuple[Part, ...] = ("train", "tune", "judge")
# The opening of the longest texts is enough to learn from, and keeps training short.
_MAX_TRAINING_CHARACTERS = 2_000
# Of so few groups a hash could leave none to learn from: the last by name judges.
_FEW_GROUPS = 6
_NOT_IN_ID = re.compile(r"[\s|{}\x00-\x1f\x7f]")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")


def part_of(family: str, group: str) -> Part:
    """Return the part a group belongs to: half train, a quarter each tune and judge."""
    bucket = zlib.crc32(f"{family}|{group}".encode()) % 100
    return "train" if bucket < 50 else "tune" if bucket < 75 else "judge"


class Row(NamedTuple):
    """What is known of one labelled post; only text, label and group need be.

    Without an author a post has one of its own, so that nobody's history is made up; without a
    time it is of 1970.
    """

    text: str
    label: float
    group: str
    author: str = ""
    created_at_ms: int = 0
    links: tuple[str, ...] = ()
    community: str = ""
    lang: str | None = None
    post_id: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Posts of one source with a label each (1 violates, 0 fine; or a value in [0, 1])."""

    source: str
    posts: list[Post]
    labels: npt.NDArray[np.float64]
    groups: list[str]
    parts: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.posts)

    @property
    def texts(self) -> list[str]:
        """The texts of the posts."""
        return [post.text for post in self.posts]

    def where(self, mask: npt.NDArray[np.bool_]) -> Corpus:
        """Return the rows where `mask` is true."""
        kept = np.flatnonzero(mask)
        return Corpus(
            self.source,
            [self.posts[i] for i in kept],
            self.labels[kept],
            [self.groups[i] for i in kept],
            self.parts[kept],
        )

    def part(self, part: Part) -> Corpus:
        """Return the rows of one part."""
        return self.where(self.parts == part)

    def sample(self, rows: int, seed: int) -> Corpus:
        """Return at most `rows` rows, drawn without replacement, in their order."""
        if len(self) <= rows:
            return self
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[np.random.default_rng(seed).choice(len(self), rows, replace=False)] = True
        return self.where(mask)


def corpus(source: str, family: str, rows: Iterable[Row]) -> Corpus:
    """Build a corpus; empty texts and repeated ones are left out.

    Numbered copies of one message are the same text here: digits count as one digit.
    """
    posts, labels, groups, seen = [], [], [], set()
    for number, row in enumerate(rows, 1):
        clean = html.unescape(row.text).strip()[:_MAX_TRAINING_CHARACTERS]
        key = "".join("0" if c.isdigit() else c for c in clean.casefold() if not c.isspace())
        if key and key not in seen:
            seen.add(key)
            posts.append(_post(f"{source}-{number}", clean, row))
            labels.append(row.label)
            groups.append(row.group)
    parts = np.array(_parts_of(family, groups), dtype=np.str_)
    return Corpus(source, posts, np.array(labels, dtype=np.float64), groups, parts)


def _post(default_id: str, text: str, row: Row) -> Post:
    post_id = as_id(row.post_id) or default_id
    return Post(
        post_id,
        as_id(row.author) or f"author-of-{post_id}"[:MAX_ID_BYTES],
        row.created_at_ms,
        text,
        lang=row.lang,
        links=row.links or None,
        communities=(as_name(row.community),) if row.community else None,
    )


def _parts_of(family: str, groups: Sequence[str]) -> list[Part]:
    names = sorted(set(groups))
    if len(names) < _FEW_GROUPS:
        assigned: dict[str, Part] = dict.fromkeys(names, "train")
        if names:
            assigned[names[-1]] = "judge"
    else:
        assigned = {name: part_of(family, name) for name in names}
    return [assigned[group] for group in groups]


def as_id(text: str) -> str:
    """Return a text as an id of the contract: blanks and other forbidden characters as `_`."""
    clean = _NOT_IN_ID.sub("_", text.strip())
    return clean.encode()[:MAX_ID_BYTES].decode(errors="ignore")


def as_name(text: str) -> str:
    """Return a text as the name of a community."""
    return _NOT_IN_NAME.sub("_", text.strip())[:64]


def read_rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Read ``<name>.csv.gz`` of the data folder; raises `UsageError`."""
    path = folder / f"{name}.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"no data at {path} ({error}); give the folder with --data") from error


def text_key(text: str) -> str:
    """Return a group for texts without one: the same opening words are one group."""
    return " ".join("".join(c for c in text.casefold() if c.isalpha() or c == " ").split()[:4])


def unix_ms(time: str, pattern: str = "") -> int:
    """Return a time as Unix milliseconds: ISO 8601 (UTC unless it says), or by a `pattern`.

    Raises `ValueError`; what lies before 1970 is 1970.
    """
    found = datetime.strptime(time, pattern) if pattern else datetime.fromisoformat(time)
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0, round(aware.timestamp() * 1000))


def links_to(domain: str) -> tuple[str, ...]:
    """Return the link of a Reddit post of which only the host is known; `self.…` is none."""
    return () if not domain or domain.startswith("self.") else (f"https://{domain}/",)


Loader = Callable[[Path], Corpus]


def _reddit(folder: Path) -> Corpus:
    return corpus(
        "reddit",
        "reddit",
        (
            Row(
                f"{r['title']}\n{r['selftext']}",
                float(r["over_18"] == "True"),
                r["subreddit"].lower(),
                created_at_ms=int(r["created_utc"]) * 1000,
                links=links_to(r["domain"]),
                community=r["subreddit"].lower(),
            )
            for r in read_rows(folder, "engagement_reddit_top")
        ),
    )


def _facebook(folder: Path) -> Corpus:
    return corpus(
        "facebook",
        "facebook",
        (
            Row(
                r["message"],
                0.0,
                r["page_id"],
                author=r["page_id"],
                created_at_ms=unix_ms(r["created_time"]),
                links=(r["link"],) if r["link"] else (),
            )
            for r in read_rows(folder, "engagement_facebook_news")
        ),
    )


def _hackernews(folder: Path) -> Corpus:
    return corpus(
        "hackernews",
        "hackernews",
        (
            Row(
                r["title"],
                0.0,
                r["author"],
                author=r["author"],
                created_at_ms=unix_ms(r["created_at"], "%m/%d/%Y %H:%M"),
                links=(r["url"],) if r["url"] else (),
            )
            for r in read_rows(folder, "engagement_hackernews20k")
        ),
    )


def _bluesky(folder: Path) -> Corpus:
    return corpus(
        "bluesky",
        "bluesky",
        (
            Row(
                r["text"],
                0.0,
                r["author"],
                author=r["author"],
                created_at_ms=unix_ms(r["createdAt"]),
            )
            for r in read_rows(folder, "engagement_bluesky_a")
        ),
    )


ORDINARY: tuple[Loader, ...] = (_reddit, _facebook, _hackernews, _bluesky)


def ordinary(folder: Path) -> list[Corpus]:
    """Read the ordinary posts; the label says over_18 (Reddit's flag), everything else is 0."""
    return [load(folder) for load in ORDINARY]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Put corpora one after the other; the groups carry the source's name."""
    return Corpus(
        "+".join(c.source for c in corpora),
        [post for c in corpora for post in c.posts],
        np.concatenate([c.labels for c in corpora]),
        [f"{c.source}|{group}" for c in corpora for group in c.groups],
        np.concatenate([c.parts for c in corpora]),
    )
