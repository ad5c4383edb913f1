from __future__ import annotations

from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.datasets.long_posts import long_posts

ROWS = labelled_posts(
    "s",
    "f",
    (LabelledRow(f"{'abcdefghij'[g]}{'x' * i} tells of {g}", 0.0, f"g{g}") for g in range(8)
     for i in range(200)),
)  # fmt: skip


def test_a_long_post_is_made_of_posts_of_its_group() -> None:
    made = long_posts(ROWS, 60, 1)
    assert len(made) == 60
    members: dict[str, set[str]] = {group: set() for group in ROWS.groups}
    for text, group in zip(ROWS.texts, ROWS.groups, strict=True):
        members[group].add(text)
    splits = dict(zip(ROWS.groups, ROWS.splits.tolist(), strict=True))
    for post, group, split in zip(made.posts, made.groups, made.splits.tolist(), strict=True):
        assert 400 < len(post.text) <= MAX_TEXT_CHARACTERS
        assert set(post.text.split("\n")[:-1]) <= members[group]
        assert split == splits[group]
    assert max(len(post.text) for post in made.posts) > 10_000
    assert made.texts == long_posts(ROWS, 60, 1).texts


def test_groups_with_little_text_give_none() -> None:
    few = labelled_posts("s", "f", [LabelledRow("a short one", 0.0, "g")])
    assert len(long_posts(few, 10, 1)) == 0
