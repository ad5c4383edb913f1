"""The labels of the last days and the posts that they are about, as the topics are followed.

Time is that of the records.  A label meets the version of the post that its rater saw
(`label_join`), also where the post came long before the label.
"""

from __future__ import annotations

from collections import deque

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.label_join import LabelJoin

# Its record and 500 bytes each; at 200 posts a second they are those of the last 17 minutes.
MOST_POSTS = 200_000

_Version = tuple[bytes | None, int]


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
