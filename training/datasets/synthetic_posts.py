"""Posts that are made for training: sentences of everyday life, and long posts.

The sentences are made of `everyday.json`, with words of the body, of clothes and of touch, as
people write them daily.  Sexual posts are full of these words, and few posts of our ordinary
sources have them.  A filter that learned these sentences takes the words alone for nothing.

Few people write more than 2,000 characters, so a long post is made of the posts of one group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import astuple, replace

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.events.post import Post
from feedmill.training.datasets.labelled_posts import LabelledPosts

SOURCE = "everyday"
_SLOT = re.compile(r"<(\w+)>")
_ENDS = ("", "", ".", ".", "!", " :)")

_SHORTEST = 400
# What `long_posts_of_each_group` takes for long; a group gives one post for so many characters that
# it wrote, and at most so many posts.
_LONG, _CHARACTERS_OF_POST, _MAX_OF_GROUP = 2_000, 1_500, 80
_SEED = 20


class _Everyday(Struct, frozen=True):
    """Patterns of sentences, and the words that may stand in each slot, such as ``<who>``."""

    patterns: tuple[str, ...]
    words: dict[str, tuple[str, ...]]


def everyday_sentences(count: int, seed: int) -> LabelledPosts:
    """Return this many different sentences, fine, each pattern a group of the split `train`."""
    random = Random(seed)  # noqa: S311 not for secrets
    written = Path(__file__).with_name("everyday.json").read_bytes()
    patterns, words = astuple(msgspec.json.decode(written, type=_Everyday))
    pattern_of: dict[str, int] = {}
    while len(pattern_of) < count:
        pattern = random.randrange(len(patterns))
        text = _SLOT.sub(lambda slot: random.choice(words[slot[1]]), patterns[pattern])
        text += random.choice(_ENDS)
        pattern_of.setdefault(text[0].upper() + text[1:], pattern)
    posts = [
        Post(f"{SOURCE}-{number}", f"author-of-{SOURCE}-{number}", 0, text)
        for number, text in enumerate(pattern_of, 1)
    ]
    groups = [f"{SOURCE}|{pattern}" for pattern in pattern_of.values()]
    return LabelledPosts(SOURCE, posts, np.zeros(count), groups, np.full(count, "train"))


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
