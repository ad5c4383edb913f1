"""Join the topics `labels` and `posts`, both read whole, to labelled posts for training.

A label belongs to the version of the post that its rater saw: the one with the highest offset whose
timestamp is not after the label.  The last label of each source counts.  Those sources that saw the
same version as the post's last label are averaged; a mean of 0.5 or more violates.

`LabelWindow` has the labels of the last days as the topics are followed.
"""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from feedmill.events.decode import decode_label, decode_post
from feedmill.events.errors import BadEvent
from feedmill.events.label import LABEL_TARGETS, Label
from feedmill.events.post import Deletion, Post
from feedmill.training.datasets.known import KnownDataset
from feedmill.training.datasets.labelled_posts import from_posts
from feedmill.training.datasets.tables import Table
from feedmill.training.provenance import OWN_DATA
from feedmill.training.training_data import Dataset

_MAX_UNLABELLED = 50_000
_DAY_MS = 86_400_000

# Its record and 500 bytes each; at 200 posts a second they are those of the last 17 minutes.
MOST_POSTS = 200_000
_Version = tuple[bytes | None, int]


class LabelRecord(NamedTuple):
    """A label of a post: 1 where it violates, by whom, and when Kafka stored the record."""

    post: Post
    label: float
    rater: str
    at_ms: int


@dataclass
class LabelJoin:
    """Folds the labels of one target, then the posts, record by record in the order of offsets.

    `left_out` counts what could not be used, by the reason.
    """

    target: str
    since_ms: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    _labels: dict[str, dict[str, Label]] = field(default_factory=dict)
    _versions: dict[str, list[tuple[int, Post]]] = field(default_factory=dict)
    _others: dict[str, Post] = field(default_factory=dict)

    def add_label(self, key: bytes | None, value: bytes | None) -> None:
        """Fold a record of `labels`; one that breaks the contract is counted and left out."""
        try:
            label = decode_label(key, value, (*LABEL_TARGETS, self.target))
        except BadEvent:
            self._leave_out("labels that break the contract")
            return
        if label.target == self.target and label.at_ms >= self.since_ms:
            of_post = self._labels.setdefault(label.post_id, {})
            before = of_post.get(label.source)
            if before is None or before.at_ms <= label.at_ms:
                of_post[label.source] = label

    def add_post(self, key: bytes | None, value: bytes | None, at_ms: int) -> None:
        """Fold a record of `posts`, after all labels; `at_ms` is the record's timestamp."""
        try:
            post = decode_post(key, value)
        except BadEvent:
            return
        if isinstance(post, Deletion):
            self._versions.pop(post.post_id, None)
            self._others.pop(post.post_id, None)
            return
        post = msgspec.structs.replace(post, created_at_ms=min(post.created_at_ms, at_ms))
        if post.post_id in self._labels:
            self._versions.setdefault(post.post_id, []).append((at_ms, post))
        else:
            self._others[post.post_id] = post

    def labelled(self) -> list[tuple[Post, float]]:
        """Return the labelled posts in the order of time, then id, with 1 where they violate."""
        rows = [(post, majority(labels)) for post, labels in self.judged()]
        found = [(post, label) for post, label in rows if label is not None]
        if len(found) < len(rows):
            self.left_out["labelled posts on which the raters tie"] = len(rows) - len(found)
        return found

    def judged(self) -> list[tuple[Post, list[Label]]]:
        """Return the labelled posts, in the same order, with the labels that count."""
        judged = []
        for post_id, by_source in self._labels.items():
            versions = self._versions.get(post_id)
            if not versions:
                self._leave_out("labelled posts that are not there, or were deleted")
                continue
            stamps = [at_ms for at_ms, _ in versions]
            # By source the number of the version it saw, from 1; 0 where none is left.
            seen = {name: bisect_right(stamps, label.at_ms) for name, label in by_source.items()}
            last = max(by_source.values(), key=lambda label: (label.at_ms, label.source))
            version = seen[last.source]
            if not version:
                self._leave_out("labelled posts whose version of then is gone")
                continue
            labels = [label for name, label in by_source.items() if seen[name] == version]
            judged.append((versions[version - 1][1], labels))
        return sorted(judged, key=lambda row: _by_time(row[0]))

    def unlabelled(self) -> list[Post]:
        """Return posts without a label of the target, at most 50,000 chosen by a hash of the id."""
        ids = sorted(self._others, key=lambda post_id: (zlib.crc32(post_id.encode()), post_id))
        return sorted((self._others[i] for i in ids[:_MAX_UNLABELLED]), key=_by_time)

    def _leave_out(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1


def majority(labels: Sequence[Label]) -> float | None:
    """Return 1 if the mean of the labels of one post is above 0.5, 0 if below, None for a tie."""
    mean = mean_label(labels)
    return None if mean == 0.5 else float(mean > 0.5)


def mean_label(labels: Sequence[Label]) -> float:
    """Return the mean of the labels of one post."""
    return sum(label.value for label in labels) / len(labels)


def _by_time(post: Post) -> tuple[int, str]:
    return post.created_at_ms, post.post_id


def topic_dataset(topic: str, labelled: list[tuple[Post, float]]) -> Dataset:
    """Return posts and their labels as the data set of a topic, grouped by author."""

    def rows() -> Iterator[tuple[Post, float, str]]:
        for post, label in labelled:
            yield post, label, post.author_id

    table = Table(Path(f"topic:{topic}"), name=topic, group="author", family="author")
    digest = hashlib.sha256(msgspec.json.encode(labelled)).hexdigest()
    return Dataset(from_posts(topic, "author", rows()), KnownDataset(table, OWN_DATA), digest)


class LabelWindow:
    """Takes the records of `labels` and `posts` in any order.

    Parameters
    ----------
    target
        The signal of which the labels are.
    window_ms
        Labels whose records are older are forgotten.
    most_posts
        So many posts wait for a label; the oldest are forgotten first.

    Attributes
    ----------
    left_out
        How many labels could not be used at the last `judged`, by the reason.
    """

    def __init__(self, target: str, window_ms: int, most_posts: int = MOST_POSTS) -> None:
        self.left_out: dict[str, int] = {}
        self._target = target
        self._window_ms = window_ms
        self._most_posts = most_posts
        self._labels: deque[tuple[bytes | None, bytes | None, int]] = deque()
        # The versions of posts by key: of those that have labels, and of the others.
        self._labelled: dict[bytes, list[_Version]] = {}
        self._waiting: dict[bytes, list[_Version]] = {}

    def add_label(self, key: bytes | None, value: bytes | None, at_ms: int) -> None:
        """Take a record of `labels`."""
        self._labels.append((key, value, at_ms))
        if key is not None and key not in self._labelled:
            self._labelled[key] = self._waiting.pop(key, [])

    def add_post(self, key: bytes | None, value: bytes | None, at_ms: int) -> None:
        """Take a record of `posts`."""
        if key is None:
            return
        versions = self._labelled.get(key)
        if versions is None:
            versions = self._waiting.setdefault(key, [])
        versions.append((value, at_ms))
        while len(self._waiting) > self._most_posts:
            del self._waiting[next(iter(self._waiting))]

    def records(self, since_ms: int) -> list[LabelRecord]:
        """Return the labels since then in the order of their records; count what is left out.

        A label belongs to the last version of the post that Kafka had when it stored the label.
        Posts of the audit are left out.
        """
        found, left_out = list[LabelRecord](), Counter[str]()
        audited, decoded = set[str](), list[tuple[Label, int]]()
        kept = [one for one in self._labels if one[2] >= since_ms]
        for key, value, at_ms in sorted(kept, key=lambda o: (o[2], o[0] or b"", o[1] or b"")):
            try:
                label = decode_label(key, value, (*LABEL_TARGETS, self._target))
            except BadEvent:
                left_out["labels that break the contract"] += 1
                continue
            if label.target != self._target:
                continue
            if label.at_ms > at_ms + _DAY_MS:
                left_out["labels dated a day after their records"] += 1
                continue
            decoded.append((label, at_ms))
            if label.sampling_probability is not None:
                audited.add(label.post_id)
        for label, at_ms in decoded:
            if label.post_id in audited:
                continue
            post = self._version_at(label.post_id, at_ms)
            if post is None:
                left_out["labels of posts that are not there, or were deleted"] += 1
            else:
                found.append(LabelRecord(post, label.value, label.source, at_ms))
        self.left_out = {**left_out}
        return found

    def _version_at(self, post_id: str, at_ms: int) -> Post | None:
        """Return the version of a post that was there at a time; None without, or if deleted."""
        found: Post | None = None
        versions = self._labelled.get(post_id.encode(), [])
        for value, stored_ms in versions:
            try:
                post = decode_post(post_id.encode(), value)
            except BadEvent:
                continue
            if isinstance(post, Deletion):
                found = None
            elif stored_ms <= at_ms:
                created_ms = min(post.created_at_ms, stored_ms)
                found = msgspec.structs.replace(post, created_at_ms=created_ms)
        return found

    def recent_posts(self, most: int) -> list[Post]:
        """Return the last posts that wait for a label, at most so many."""
        found = []
        for key, versions in reversed(self._waiting.items()):
            with suppress(BadEvent):
                post = decode_post(key, versions[-1][0])
                if not isinstance(post, Deletion):
                    found.append(post)
            if len(found) == most:
                break
        return found

    def judged(self, now_ms: int) -> list[tuple[Post, list[Label]]]:
        """Return the posts of the window with the labels that count, in the order of time."""
        kept = [label for label in self._labels if label[2] >= now_ms - self._window_ms]
        self._labels = deque(kept)
        keys = {key for key, _, _ in kept if key is not None}
        self._labelled = {key: self._labelled[key] for key in self._labelled if key in keys}
        join = LabelJoin(self._target)
        for key, value, _ in kept:
            join.add_label(key, value)
        for post_key, versions in self._labelled.items():
            for post_value, at_ms in versions:
                join.add_post(post_key, post_value, at_ms)
        judged = join.judged()
        self.left_out = join.left_out
        return judged
