"""First impressions of posts: what the engagement ranker knew, and how the user reacted.

`streams` makes them of the topics, `training` learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.authorship import AuthorKeys
from feedmill.rankers.engagement import HEADS

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Impressions:
    """The first impressions that users had of posts, a row each.

    Attributes
    ----------
    versions
        (rows,) int64: which of `posts` the user was shown.
    at_ms
        (rows,) int64: the timestamp of the record, Unix milliseconds.
    weights
        (rows,) float64: how much the position is looked at, above 0; 1 where that is unknown.
    clicks, impressions
        (rows,) float64: what `clicks_and_impressions` said of the post just before.
    reactions
        (rows, len(HEADS)) bool: whether the user reacted within the time that is waited for, a
        column for each of `HEADS`.
    authors
        (posts,) int64: who published each of `posts`, as `author_keys` say it.
    users
        (rows,) int64: who saw it, by hash; None where that is not kept.
    """

    posts: list[Post]
    versions: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    weights: Counts
    clicks: Counts
    impressions: Counts
    reactions: npt.NDArray[np.bool_]
    authors: AuthorKeys
    users: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.versions)

    def reacted(self, kind: str) -> npt.NDArray[np.bool_]:
        """Return which users reacted in one of the ways of `HEADS`: (rows,)."""
        column: npt.NDArray[np.bool_] = self.reactions[:, HEADS.index(kind)]
        return column

    def where(self, mask: npt.NDArray[np.bool_]) -> Impressions:
        """Return the rows where the (rows,) `mask` is true; all posts stay."""
        kept = {name: getattr(self, name)[mask] for name in _COLUMNS}
        return replace(self, **kept, users=None if self.users is None else self.users[mask])


# The fields with a row for each impression, but `users`, which may be missing.
_COLUMNS = ("versions", "at_ms", "weights", "clicks", "impressions", "reactions")


def join(parts: Sequence[Impressions]) -> Impressions:
    """Put the impressions of several partitions one after the other; there is at least one."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    before = np.cumsum([0, *(len(part.posts) for part in parts[:-1])])
    columns["versions"] += before.repeat([len(part) for part in parts])
    known = [part.users for part in parts if part.users is not None]
    return Impressions(
        posts=[post for part in parts for post in part.posts],
        authors=np.concatenate([part.authors for part in parts]),
        users=np.concatenate(known) if len(known) == len(parts) else None,
        **columns,
    )
