"""Labelled posts for training and evaluation, read from files; never needed online.

A row is a `Post` like those of the topic `posts`, so that training, evaluation and a live stage see
the very same thing.  Its id is ``<source>-<row number>``: reports name that, never its text.

A group (a subreddit, video, domain, page, author) is never divided between splits: all of it is for
``train``, ``validation`` (thresholds, calibration) or ``test`` (only ever measured).  A
salted hash of the group decides.  Each look at the test rows is logged
(`training.evaluation.looks`).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_ID_BYTES, MAX_TEXT_CHARACTERS
from feedmill.events.post import Media, Post

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EDITION = "second edition"
# With fewer groups a hash could leave none to train on: then one group is the test split.
_FEW_GROUPS = 6

_DIGIT = re.compile(r"\d")
_NOT_IN_ID = re.compile(r"[\s|{}\x00-\x1f\x7f]")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")


def split_of(family: str, group: str) -> Split:
    """Return the split of a group: six in ten train, two each are for validation and test."""
    bucket = _hash(family, group) % 100
    return "train" if bucket < 60 else "validation" if bucket < 80 else "test"


def splits_of(family: str, groups: Sequence[str]) -> list[Split]:
    """Return the split of each row, by the group that it belongs to.

    Of fewer than six groups, one is for test and the others train.
    """
    names = set(groups)
    if len(names) < _FEW_GROUPS:
        test = _test_group(family, names)
        return ["test" if group == test else "train" for group in groups]
    split = {name: split_of(family, name) for name in names}
    return [split[group] for group in groups]


def _test_group(family: str, names: set[str]) -> str:
    """Return the test group of a few: never the last by name, as another one trains."""
    return min(names, key=lambda name: (name == max(names), _hash(family, name)), default="")


def _hash(family: str, group: str) -> int:
    digest = hashlib.sha256(f"{EDITION}|{family}|{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


class LabelledRow(NamedTuple):
    """What is known of one labelled post; only text, label and group have to be.

    A post without an author gets one of its own, so that no history is made up; one without a time
    is from 1970.
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
    media: tuple[Media, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelledPosts:
    """Posts of one source, each with its label.

    Attributes
    ----------
    source
        What reports call it.
    posts
        n posts.
    labels
        (n,) float64: 1 violates, 0 is fine; a ranker's quality is anything in [0, 1].
    groups
        n texts ``<family>|<group>``: the same group in all sources of one family.
    splits
        (n,) texts, each one of `split.SPLITS`.
    """

    source: str
    posts: list[Post]
    labels: npt.NDArray[np.float64]
    groups: list[str]
    splits: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.posts)

    @property
    def texts(self) -> list[str]:
        """The texts of the posts."""
        return [post.text for post in self.posts]

    def where(self, mask: npt.NDArray[np.bool_]) -> LabelledPosts:
        """Return the rows where the (n,) `mask` is true."""
        kept = np.flatnonzero(mask)
        return LabelledPosts(
            self.source,
            [self.posts[i] for i in kept],
            self.labels[kept],
            [self.groups[i] for i in kept],
            self.splits[kept],
        )

    def split(self, split: Split) -> LabelledPosts:
        """Return the rows of one split."""
        return self.where(self.splits == split)

    def without_test(self) -> LabelledPosts:
        """Return the rows that may train a model or choose its thresholds."""
        return self.where(self.splits != "test")

    def sample(self, rows: int, seed: int) -> LabelledPosts:
        """Return at most `rows` rows, drawn without replacement, in their order."""
        if len(self) <= rows:
            return self
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[np.random.default_rng(seed).choice(len(self), rows, replace=False)] = True
        return self.where(mask)


def labelled_posts(source: str, family: str, rows: Iterable[LabelledRow]) -> LabelledPosts:
    """Build labelled posts of rows, as `from_posts` does."""
    posts = (
        (_post(source, number, row), row.label, row.group) for number, row in enumerate(rows, 1)
    )
    return from_posts(source, family, posts)


def from_posts(source: str, family: str, rows: Iterable[tuple[Post, float, str]]) -> LabelledPosts:
    """Build labelled posts of (post, label, group); empty and repeated texts are left out.

    Texts that differ in digits alone count as repeated: numbered copies of one message.
    """
    posts, labels, groups, seen = [], [], [], set()
    for post, label, group in rows:
        clean = html.unescape(post.text).strip()[:MAX_TEXT_CHARACTERS]
        key = text_fingerprint(clean)
        if key and key not in seen:
            seen.add(key)
            posts.append(replace(post, text=clean))
            labels.append(label)
            groups.append(group)
    named = [f"{family}|{group}" for group in groups]
    splits = np.array(splits_of(family, groups), dtype=np.str_)
    return LabelledPosts(source, posts, np.array(labels, dtype=np.float64), named, splits)


def _post(source: str, number: int, row: LabelledRow) -> Post:
    post_id = as_id(row.post_id) or f"{source}-{number}"
    return Post(
        post_id,
        as_id(row.author) or f"author-of-{post_id}"[:MAX_ID_BYTES],
        row.created_at_ms,
        row.text,
        lang=as_name(row.lang) if row.lang else None,
        links=row.links or None,
        media=row.media,
        communities=(as_name(row.community),) if row.community else None,
    )


def text_fingerprint(text: str) -> str:
    """Return what copies of a text share: it has no blanks, no case, and 0 for every digit."""
    return _DIGIT.sub("0", "".join(text.casefold().split()))


def as_id(text: str) -> str:
    """Return a text as an id that the contract allows: forbidden characters become `_`."""
    clean = _NOT_IN_ID.sub("_", text.strip())
    return clean.encode()[:MAX_ID_BYTES].decode(errors="ignore")


def as_name(text: str) -> str:
    """Return a text as a community's name: at most 64 characters, forbidden ones become `_`."""
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
    """Return a group for a text that has none: its first four words."""
    return " ".join("".join(c for c in text.casefold() if c.isalpha() or c == " ").split()[:4])


def unix_ms(time: str, pattern: str = "") -> int:
    """Return a time as Unix milliseconds: ISO 8601, or by a `strptime` pattern; UTC by default.

    A time before 1970 becomes 0.  Raises `ValueError`.
    """
    parsed = datetime.strptime(time, pattern) if pattern else datetime.fromisoformat(time)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return max(0, round(aware.timestamp() * 1000))


def concatenate(parts: Sequence[LabelledPosts]) -> LabelledPosts:
    """Put labelled posts one after the other."""
    return LabelledPosts(
        "+".join(rows.source for rows in parts),
        [post for rows in parts for post in rows.posts],
        np.concatenate([rows.labels for rows in parts]),
        [group for rows in parts for group in rows.groups],
        np.concatenate([rows.splits for rows in parts]),
    )


def drop_leaked(rows: LabelledPosts, training: Sequence[LabelledPosts]) -> LabelledPosts:
    """Return the rows that share neither their group nor their text with any training row."""
    groups = {group for part in training for group in part.groups}
    texts = {text_fingerprint(post.text) for part in training for post in part.posts}
    is_new = [
        group not in groups and text_fingerprint(post.text) not in texts
        for group, post in zip(rows.groups, rows.posts, strict=True)
    ]
    return rows.where(np.array(is_new, dtype=np.bool_))
