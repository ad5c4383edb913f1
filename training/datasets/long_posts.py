"""Long posts, made of the posts of one group: few people write more than 2,000 characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.training.datasets.labelled_posts import LabelledPosts

_SHORTEST = 400
# What `long_posts_of_each_group` takes for long; a group gives one post for so many characters that
# it wrote, and at most so many posts.
_LONG, _CHARACTERS_OF_POST, _MAX_OF_GROUP = 2_000, 1_500, 80
_SEED = 20


def long_posts(rows: LabelledPosts, count: int, seed: int) -> LabelledPosts:
    """Return posts of more than 400 characters, each of posts of one group, in random order.

    Their lengths are spread over the logarithm up to 20,000 characters; a group with too little
    text gives shorter ones, or none.  They are fine, and in their group's split.
    """
    random = np.random.default_rng(seed)
    groups = [
        indices
        for indices in _members(rows)
        if sum(len(rows.posts[i].text) for i in indices) > _SHORTEST
    ]
    made = []
    for _ in range(count if groups else 0):
        indices = groups[int(random.integers(len(groups)))]
        made.append((indices[0], _joined(rows, indices, _SHORTEST, random)))
    return _posts(rows, made, range(len(made)))


def long_posts_of_each_group(rows: LabelledPosts) -> LabelledPosts:
    """Return posts of more than 2,000 characters, the more the more a group wrote.

    Each is made of posts of one group, as `long_posts` does; groups with too little text give none.
    """
    random = np.random.default_rng(_SEED)
    made, numbers = [], []
    for indices in _members(rows):
        characters = sum(len(rows.posts[i].text) + 1 for i in indices)
        if len(indices) < 2 or characters <= _LONG:
            continue
        for number in range(min(_MAX_OF_GROUP, 1 + characters // _CHARACTERS_OF_POST)):
            text = _joined(rows, indices, _LONG, random)
            if len(text) > _LONG:
                made.append((indices[0], text))
                numbers.append(number)
    return _posts(rows, made, numbers)


def _members(rows: LabelledPosts) -> list[list[int]]:
    """Return which rows each group has, in the order of the groups' names."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(rows.groups):
        members.setdefault(group, []).append(index)
    return [members[group] for group in sorted(members)]


def _joined(
    rows: LabelledPosts, indices: Sequence[int], shortest: int, random: np.random.Generator
) -> str:
    """Join texts of these rows, in random order, to a length above `shortest` that is drawn."""
    length = int(np.exp(random.uniform(*np.log([shortest + 1, MAX_TEXT_CHARACTERS]))))
    parts: list[str] = []
    total = 0
    for index in random.permutation(indices):
        parts.append(rows.posts[index].text)
        total += len(parts[-1]) + 1
        if total > length:
            break
    return "\n".join(parts)[:MAX_TEXT_CHARACTERS]


def _posts(
    rows: LabelledPosts, made: Sequence[tuple[int, str]], numbers: Sequence[int]
) -> LabelledPosts:
    """Return fine posts with these texts, each otherwise like the row of its index."""
    first = [index for index, _ in made]
    posts = [
        replace(rows.posts[index], post_id=f"{rows.posts[index].post_id}-long-{number}", text=text)
        for (index, text), number in zip(made, numbers, strict=True)
    ]
    splits = rows.splits[first] if first else rows.splits[:0]
    groups = [rows.groups[index] for index in first]
    return LabelledPosts(rows.source, posts, np.zeros(len(posts)), groups, splits)
