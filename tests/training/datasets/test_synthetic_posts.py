from collections import Counter

import numpy as np

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.datasets.synthetic_posts import (
    everyday_sentences,
    long_posts,
    long_posts_of_each_group,
)


def test_sentences_are_different_fine_and_of_the_training_split() -> None:
    rows = everyday_sentences(300, 1)
    assert len(set(rows.texts)) == len(rows) == 300
    assert not rows.labels.any()
    assert set(rows.splits.tolist()) == {"train"}
    assert len({post.post_id for post in rows.posts}) == 300


def test_the_same_seed_gives_the_same_sentences() -> None:
    assert everyday_sentences(50, 1).texts == everyday_sentences(50, 1).texts
    assert everyday_sentences(50, 1).texts != everyday_sentences(50, 2).texts
    assert len(everyday_sentences(0, 1)) == 0


def test_every_slot_of_every_pattern_is_filled() -> None:
    rows = everyday_sentences(2_000, 3)
    assert len(set(rows.groups)) == 38
    assert not any("<" in text or ">" in text for text in rows.texts)
    assert all(text[0].isupper() or text[0].isdigit() for text in rows.texts)


ROWS = labelled_posts(
    "s",
    "f",
    (LabelledRow(f"{'abcdefghij'[g]}{'x' * i} tells of {g}", 0.0, f"g{g}") for g in range(8)
     for i in range(200)),
)  # fmt: skip


def check_made_of_own_groups(made: LabelledPosts, shortest: int) -> None:
    """Check that each post is made of posts of its group, in its split, and longer than that."""
    members: dict[str, set[str]] = {group: set() for group in ROWS.groups}
    for text, group in zip(ROWS.texts, ROWS.groups, strict=True):
        members[group].add(text)
    splits = dict(zip(ROWS.groups, ROWS.splits.tolist(), strict=True))
    for post, group, split in zip(made.posts, made.groups, made.splits.tolist(), strict=True):
        assert shortest < len(post.text) <= MAX_TEXT_CHARACTERS
        assert set(post.text.split("\n")[:-1]) <= members[group]
        assert split == splits[group]


def test_a_long_post_is_made_of_posts_of_its_group() -> None:
    made = long_posts(ROWS, 60, 1)
    assert len(made) == 60
    check_made_of_own_groups(made, 400)
    assert max(len(post.text) for post in made.posts) > 10_000
    assert made.texts == long_posts(ROWS, 60, 1).texts


def test_each_group_gives_the_more_long_posts_the_more_it_wrote() -> None:
    some = np.arange(len(ROWS))
    made = long_posts_of_each_group(ROWS.where((some >= 200) | (some < 60)))
    check_made_of_own_groups(made, 2_000)
    counts = Counter(made.groups)
    assert counts["f|g0"] <= 2
    assert set(counts) - {"f|g0"} == set(ROWS.groups) - {"f|g0"}
    assert 10 < counts["f|g1"] <= 16
    assert len({post.post_id for post in made.posts}) == len(made)


def test_groups_with_little_text_give_none() -> None:
    few = labelled_posts("s", "f", [LabelledRow("a short one", 0.0, "g")])
    assert len(long_posts(few, 10, 1)) == 0
    assert len(long_posts_of_each_group(few)) == 0
