"""A product's first impressions as arms: a version of a post is one, beside its neighbours in time.

Posts of one community are compared with each other, and only with those of the same time: each
group is 20 posts in a row.  So no model learns which community is large, or which day was busy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.features.authorship import AuthorKeys
from feedmill.features.media import media_kinds
from feedmill.rankers.impressions import Impressions
from feedmill.training.datasets.headline_tests import Arms, SeenArms

GROUP_POSTS = 20
_DAY_MS = 86_400_000
LEAST_IMPRESSIONS, LEAST_POSTS, LEAST_OF_A_CLASS = 1_000, 100, 50


class ShownPosts(NamedTuple):
    """The versions that were shown, in the order of time.

    Attributes
    ----------
    posts
        The versions.
    groups
        The group of each.
    authors
        (posts,) who published each, as `author_keys` say it.
    arms
        (rows,) int64: which of them each impression was of.
    """

    posts: list[Post]
    groups: list[str]
    authors: AuthorKeys
    arms: npt.NDArray[np.int64]


def check_enough(rows: Impressions) -> None:
    """Check that impressions can train a model; raises `UsageError` with what there is."""
    shown, clicks = len(np.unique(rows.versions)), int(rows.reacted("click").sum())
    if len(rows) < LEAST_IMPRESSIONS or shown < LEAST_POSTS:
        raise UsageError(
            f"too few impressions: expected {LEAST_IMPRESSIONS:,} first impressions of"
            f" {LEAST_POSTS} posts, whose reactions are all known, found {len(rows):,} of"
            f" {shown:,}; wait for more, or for less time with --wait"
        )
    if min(clicks, len(rows) - clicks) < LEAST_OF_A_CLASS:
        raise UsageError(
            f"too little to tell apart: expected {LEAST_OF_A_CLASS} impressions with a click and"
            f" as many without, found {clicks:,} and {len(rows) - clicks:,}; send every impression,"
            " and every click"
        )


def shown_posts(rows: Impressions) -> ShownPosts:
    """Order and group the versions that were shown."""
    shown = np.unique(rows.versions).tolist()
    shown.sort(key=lambda n: (rows.posts[n].created_at_ms, rows.posts[n].post_id, n))
    place = np.zeros(len(rows.posts), dtype=np.int64)
    place[shown] = np.arange(len(shown))
    posts = [rows.posts[n] for n in shown]
    return ShownPosts(posts, _groups(posts), rows.authors[shown], place[rows.versions])


def arms_of(rows: Impressions, shown: ShownPosts, kind: str) -> Arms:
    """Return the arms whose clicks are the reactions of one kind, of `HEADS`."""
    count = len(shown.posts)
    reacted = np.bincount(shown.arms, rows.reacted(kind), minlength=count)
    return Arms(
        [post.text for post in shown.posts],
        shown.groups,
        np.bincount(shown.arms, rows.weights, minlength=count),
        reacted.astype(np.int64),
        np.arange(count),
        media_kinds(shown.posts),
    )


def seen_before(rows: Impressions) -> SeenArms:
    """Return what was counted before each impression, and whether that one was clicked.

    An impression is as much of one as its position is looked at.
    """
    rate = rows.reacted("click") / rows.weights
    return SeenArms(rows.impressions, rows.clicks, rows.weights, rate)


def community_days(posts: list[Post]) -> list[str]:
    """Return the community of each post, or all small ones, and the day, UTC, of its creation."""
    names = _communities(posts)
    return [
        f"{name}|{post.created_at_ms // _DAY_MS}" for name, post in zip(names, posts, strict=True)
    ]


def _groups(posts: list[Post]) -> list[str]:
    """Return the group of each post: its community, or all small ones, and a number in time."""
    counted: dict[str, int] = {}
    groups = []
    for name in _communities(posts):
        number = counted.get(name, 0)
        counted[name] = number + 1
        groups.append(f"{name}|{number // GROUP_POSTS}")
    return groups


def _communities(posts: list[Post]) -> list[str]:
    """Return the first community of each post; those of fewer than a group are one."""
    communities = [post.communities[0] if post.communities else "" for post in posts]
    names, sizes = np.unique(np.array(communities, dtype=np.str_), return_counts=True)
    large = set(names[sizes >= GROUP_POSTS].tolist())
    return [f"community:{name}" if name in large else "others" for name in communities]
