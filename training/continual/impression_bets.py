"""Which impressions bet: no user, no author and no near copies of a text more than once.

Impressions of one post, of one author and of one user go wrong together.  A bet is the mean over
impressions of one author's posts, each by a user who is in no other bet.  What is chosen follows
from who saw what, and never from who clicked.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Mask
from feedmill.training.continual.rated_posts import near_copy_clusters

# A user has so many impressions at most, or such a part of all, whichever is more.
FREE_IMPRESSIONS, MOST_OF_ALL = 20, 0.01
NO_BET = -1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
Numbers = npt.NDArray[np.int64]


def without_floods(rows: Impressions) -> Impressions:
    """Return impressions of which no user has too many; a hash chooses which of a user's stay.

    Raises `UsageError` where the users are not known.
    """
    most = max(FREE_IMPRESSIONS, int(MOST_OF_ALL * len(rows)))
    return rows.where(_rank_of_each(users_of(rows), _hashes(rows)) < most)


def bet_numbers(rows: Impressions, fresh: Mask) -> Numbers:
    """Return the bet of each impression, from 0 on in the order of time; `NO_BET`: of none.

    Parameters
    ----------
    rows
        Impressions with their users.
    fresh
        (rows,) which of them may bet.  Near copies of posts that were shown before never do.
    """
    authors, clusters = _authors_and_clusters(rows)
    old = np.unique(clusters[rows.versions[~fresh]])
    order = np.argsort(rows.at_ms, kind="stable")
    places = order[fresh[order] & ~np.isin(clusters[rows.versions[order]], old)]
    first_author = _first_of_each(clusters[rows.versions[places]], authors[rows.versions[places]])
    places = places[first_author == authors[rows.versions[places]]]
    hashes, users = _hashes(rows)[places], users_of(rows)[places]
    chosen = places[_rank_of_each(users, hashes) == 0]
    numbers = np.full(len(rows), NO_BET, dtype=np.int64)
    _, first, place = np.unique(
        authors[rows.versions[chosen]], return_index=True, return_inverse=True
    )
    numbers[chosen] = np.argsort(np.argsort(first, kind="stable"), kind="stable")[place]
    return numbers


def users_of(rows: Impressions) -> Numbers:
    """Return who saw each impression; raises `UsageError` where that is not known."""
    if rows.users is None:
        raise UsageError("these impressions do not say who saw them; read them from the topics")
    return rows.users


def _authors_and_clusters(rows: Impressions) -> tuple[Numbers, Numbers]:
    """Return the number of the author and of the near-copy cluster of each version: (posts,)."""
    names = np.array([post.author_id for post in rows.posts], dtype=np.str_)
    authors = np.unique(names, return_inverse=True)[1] if len(names) else np.zeros(0, np.int64)
    clusters = near_copy_clusters([post.text for post in rows.posts])
    return authors.astype(np.int64), np.array(clusters, dtype=np.int64)


def _first_of_each(keys: Numbers, values: Numbers) -> Numbers:
    """Return for each row the value of the first row with its key."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return values[first][place]


def _rank_of_each(keys: Numbers, hashes: npt.NDArray[np.uint64]) -> Numbers:
    """Return for each row how many rows of its key have a lower hash, or the same further left."""
    order = np.lexsort((hashes, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] - 1))
    lengths = np.diff(starts, append=len(keys))
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return ranks


def _hashes(rows: Impressions) -> npt.NDArray[np.uint64]:
    """Return a hash of user and post of each impression: the same in every process."""
    posts = np.array([zlib.crc32(post.post_id.encode()) for post in rows.posts], dtype=np.uint64)
    mixed = users_of(rows).astype(np.uint64) ^ (posts[rows.versions] << np.uint64(16))
    hashes: npt.NDArray[np.uint64] = (mixed * _SPREAD) >> np.uint64(7)
    return hashes
