"""Long posts, made of the posts of one group: few people write more than 2,000 characters."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.training.datasets.labelled_posts import LabelledPosts

_SHORTEST = 400


def long_posts(rows: LabelledPosts, count: int, seed: int) -> LabelledPosts:
    """Return posts of more than 400 characters, each of posts of one group, in random order.

    Their lengths are spread over the logarithm up to 20,000 characters; a group with too little
    text gives shorter ones, or none.  They are fine, and in their group's split.
    """
    random = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(rows.groups):
        members.setdefault(group, []).append(index)
    groups = [
        group
        for group, indices in sorted(members.items())
        if sum(len(rows.posts[i].text) for i in indices) > _SHORTEST
    ]
    made, first = [], []
    for number in range(count if groups else 0):
        indices = members[groups[int(random.integers(len(groups)))]]
        ends = np.log([_SHORTEST + 1, MAX_TEXT_CHARACTERS])
        length = int(np.exp(random.uniform(*ends)))
        text = _joined((rows.posts[i].text for i in random.permutation(indices)), length)
        post = rows.posts[indices[0]]
        made.append(replace(post, post_id=f"{post.post_id}-long-{number}", text=text))
        first.append(indices[0])
    return LabelledPosts(
        rows.source,
        made,
        np.zeros(len(made)),
        [rows.groups[i] for i in first],
        rows.splits[first] if first else rows.splits[:0],
    )


def _joined(texts: Iterable[str], length: int) -> str:
    parts: list[str] = []
    total = 0
    for text in texts:
        parts.append(text)
        total += len(text) + 1
        if total > length:
            break
    return "\n".join(parts)[:MAX_TEXT_CHARACTERS]
