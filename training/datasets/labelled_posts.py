"""Labelled posts for training and judging, read from files; never needed online.

A row is a `Post` like those of the topic `posts`, so that training, judging and a live stage see
the very same thing.  Its id is ``<source>-<row number>``: reports name that, never its text.

Groups (subreddit, video, domain, page, author, test) are never split: `split_of` puts a whole group
into ``train``, ``tune`` (thresholds, calibration) or ``judge`` (only ever measured), by a hash.
"""

from __future__ import annotations

import csv
import gzip
import html
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_ID_BYTES
from feedmill.events.post import Post

Split = Literal["train", "tune", "judge"]
SPLITS: tuple[Split, ...] = ("train", "tune", "judge")
# The opening of the longest texts is enough to learn from, and keeps training short.
_MAX_TRAINING_CHARACTERS = 2_000
# Of so few groups a hash could leave none to learn from: the last by name judges.
_FEW_GROUPS = 6
_DIGIT = re.compile(r"\d")
_NOT_IN_ID = re.compile(r"[\s|{}\x00-\x1f\x7f]")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")


def split_of(family: str, group: str) -> Split:
    """Return the part a group belongs to: half train, a quarter each tune and judge."""
    bucket = zlib.crc32(f"{family}|{group}".encode()) % 100
    return "train" if bucket < 50 else "tune" if bucket < 75 else "judge"


class LabelledRow(NamedTuple):
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
class LabelledPosts:
    """Posts of one source with a label each (1 violates, 0 fine; or a value in [0, 1]).

    A group is written ``<family>|<group>``: the same in two corpora of one family.
    """

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

    def where(self, mask: npt.NDArray[np.bool_]) -> LabelledPosts:
        """Return the rows where `mask` is true."""
        kept = np.flatnonzero(mask)
        return LabelledPosts(
            self.source,
            [self.posts[i] for i in kept],
            self.labels[kept],
            [self.groups[i] for i in kept],
            self.parts[kept],
        )

    def part(self, part: Split) -> LabelledPosts:
        """Return the rows of one part."""
        return self.where(self.parts == part)

    def sample(self, rows: int, seed: int) -> LabelledPosts:
        """Return at most `rows` rows, drawn without replacement, in their order."""
        if len(self) <= rows:
            return self
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[np.random.default_rng(seed).choice(len(self), rows, replace=False)] = True
        return self.where(mask)


def labelled_posts(source: str, family: str, rows: Iterable[LabelledRow]) -> LabelledPosts:
    """Build a corpus of rows; see `from_posts`."""
    posts = (
        (_post(source, number, row), row.label, row.group) for number, row in enumerate(rows, 1)
    )
    return from_posts(source, family, posts)


def from_posts(
    source: str, family: str, judged: Iterable[tuple[Post, float, str]]
) -> LabelledPosts:
    """Build a corpus of (post, label, group); empty texts and repeated ones are left out.

    Numbered copies of one message are the same text here: digits count as one digit.
    """
    posts, labels, groups, seen = [], [], [], set()
    for post, label, group in judged:
        clean = html.unescape(post.text).strip()[:_MAX_TRAINING_CHARACTERS]
        key = text_fingerprint(clean)
        if key and key not in seen:
            seen.add(key)
            posts.append(replace(post, text=clean))
            labels.append(label)
            groups.append(group)
    named = [f"{family}|{group}" for group in groups]
    parts = np.array(_parts_of(family, groups), dtype=np.str_)
    return LabelledPosts(source, posts, np.array(labels, dtype=np.float64), named, parts)


def _post(source: str, number: int, row: LabelledRow) -> Post:
    post_id = as_id(row.post_id) or f"{source}-{number}"
    return Post(
        post_id,
        as_id(row.author) or f"author-of-{post_id}"[:MAX_ID_BYTES],
        row.created_at_ms,
        row.text,
        lang=as_name(row.lang) if row.lang else None,
        links=row.links or None,
        communities=(as_name(row.community),) if row.community else None,
    )


def _parts_of(family: str, groups: Sequence[str]) -> list[Split]:
    names = sorted(set(groups))
    if len(names) < _FEW_GROUPS:
        assigned: dict[str, Split] = dict.fromkeys(names, "train")
        if names:
            assigned[names[-1]] = "judge"
    else:
        assigned = {name: split_of(family, name) for name in names}
    return [assigned[group] for group in groups]


def text_fingerprint(text: str) -> str:
    """Return what equal and numbered copies of a text share: no blanks, no case, digits as 0."""
    return _DIGIT.sub("0", "".join(text.casefold().split()))


def as_id(text: str) -> str:
    """Return a text as an id of the contract: blanks and other forbidden characters as `_`."""
    clean = _NOT_IN_ID.sub("_", text.strip())
    return clean.encode()[:MAX_ID_BYTES].decode(errors="ignore")


def as_name(text: str) -> str:
    """Return a text as the name of a community."""
    return _NOT_IN_NAME.sub("_", text.strip())[:64]


def read_csv_rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Read ``<name>.csv.gz`` of the data folder; raises `UsageError`."""
    path = folder / f"{name}.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"no data at {path} ({error}); give the folder with --data") from error


def opening_words(text: str) -> str:
    """Return a group for texts without one: the same opening words are one group."""
    return " ".join("".join(c for c in text.casefold() if c.isalpha() or c == " ").split()[:4])


def unix_ms(time: str, pattern: str = "") -> int:
    """Return a time as Unix milliseconds: ISO 8601 (UTC unless it says), or by a `pattern`.

    Raises `ValueError`; what lies before 1970 is 1970.
    """
    found = datetime.strptime(time, pattern) if pattern else datetime.fromisoformat(time)
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0, round(aware.timestamp() * 1000))


def concatenate(corpora: Sequence[LabelledPosts]) -> LabelledPosts:
    """Put corpora one after the other; groups of one family are the same groups."""
    return LabelledPosts(
        "+".join(c.source for c in corpora),
        [post for c in corpora for post in c.posts],
        np.concatenate([c.labels for c in corpora]),
        [group for c in corpora for group in c.groups],
        np.concatenate([c.parts for c in corpora]),
    )


def drop_leaked(held: LabelledPosts, taught: Sequence[LabelledPosts]) -> LabelledPosts:
    """Return the rows of `held` that share neither group nor text with rows that taught a model."""
    groups = {group for c in taught for group in c.groups}
    texts = {text_fingerprint(post.text) for c in taught for post in c.posts}
    clean = [
        group not in groups and text_fingerprint(post.text) not in texts
        for group, post in zip(held.groups, held.posts, strict=True)
    ]
    return held.where(np.array(clean, dtype=np.bool_))
