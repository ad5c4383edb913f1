"""Who published a post, and at which hour of the day: what the text does not say."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post

Hours = npt.NDArray[np.int8]
AuthorKeys = npt.NDArray[np.int64]

DAY_HOURS = 24
# It indexes the last element of an array: models have what a missing value adds there.
UNKNOWN_HOUR = -1
UNKNOWN_AUTHOR = 0
_HOUR_MS = 3_600_000
_DAY_MS = DAY_HOURS * _HOUR_MS


def hours_of_day(posts: Sequence[Post]) -> Hours:
    """Return the hour of the day, UTC, of each post's `created_at_ms`: (posts,) int8.

    `UNKNOWN_HOUR` on 1 January 1970: rows of data sets without times are of that day.
    """
    at_ms = np.fromiter((post.created_at_ms for post in posts), np.int64, len(posts))
    hours = np.where(at_ms < _DAY_MS, UNKNOWN_HOUR, at_ms // _HOUR_MS % DAY_HOURS)
    return hours.astype(np.int8)


def author_keys(posts: Sequence[Post]) -> AuthorKeys:
    """Return `author_key` of each post's author: (posts,) int64."""
    return np.fromiter((author_key(post.author_id) for post in posts), np.int64, len(posts))


def author_key(author_id: str) -> int:
    """Return the hash of an author's id, of 63 bits, never `UNKNOWN_AUTHOR`."""
    digest = blake2b(author_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % np.iinfo(np.int64).max + 1
