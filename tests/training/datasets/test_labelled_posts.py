from collections import Counter
from pathlib import Path

import msgspec
import pytest

from builders.events import NOW_MS
from feedmill.events.decode import decode_post
from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.training.datasets.labelled_posts import (
    SPLITS,
    LabelledRow,
    concatenate,
    labelled_posts,
    read_csv_rows,
    split_of,
    splits_of,
    unix_ms,
)


def test_a_group_is_never_split() -> None:
    rows = labelled_posts(
        "s", "f", (LabelledRow(f"text {'x' * i}", 0.0, f"g{i % 40}") for i in range(400))
    )
    of_group: dict[str, set[str]] = {}
    for group, split in zip(rows.groups, rows.splits, strict=True):
        of_group.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in of_group.values())
    assert set().union(*of_group.values()) == set(SPLITS)
    assert sum(len(rows.split(split)) for split in SPLITS) == len(rows)
    assert len(rows.without_test()) == len(rows.split("train")) + len(rows.split("validation"))


def test_repeated_and_empty_texts_are_left_out() -> None:
    rows = labelled_posts(
        "s",
        "f",
        [
            LabelledRow("Call 0800", 1.0, "a"),
            LabelledRow("call  1234", 1.0, "b"),
            LabelledRow(" ", 0.0, "c"),
        ],
    )
    assert rows.texts == ["Call 0800"]


def test_a_text_is_read_as_far_as_the_contract_allows() -> None:
    long = "word " * MAX_TEXT_CHARACTERS
    assert len(labelled_posts("s", "f", [LabelledRow(long, 0.0, "a")]).texts[0]) == (
        MAX_TEXT_CHARACTERS
    )


def test_a_row_becomes_the_post_that_a_stage_would_see() -> None:
    known = LabelledRow(
        "read &amp; share",
        1.0,
        "g",
        author="Jane  Doe|x",
        created_at_ms=NOW_MS,
        links=("https://example.org/a",),
        community="Old Bridges",
        lang="en",
    )
    post, unknown = labelled_posts("s", "f", [known, LabelledRow("another", 0.0, "h")]).posts
    assert decode_post(b"s-1", msgspec.json.encode(post)) == post
    assert (post.post_id, post.author_id, post.text) == ("s-1", "Jane__Doe_x", "read & share")
    assert (post.communities, post.links) == (("Old_Bridges",), ("https://example.org/a",))
    assert (unknown.post_id, unknown.author_id, unknown.created_at_ms) == (
        "s-2",
        "author-of-s-2",
        0,
    )
    assert unknown.links is None


@pytest.mark.parametrize(
    ("time", "pattern", "at_ms"),
    [
        ("1970-01-01T00:00:01.250Z", "", 1250),
        ("1970-01-01T02:00:01+0200", "", 1000),
        ("1970-01-02", "", 86_400_000),
        ("1/2/1970 0:01", "%m/%d/%Y %H:%M", 86_460_000),
        ("1965-01-01", "", 0),
    ],
)
def test_times_are_utc_unless_they_say(time: str, pattern: str, at_ms: int) -> None:
    assert unix_ms(time, pattern) == at_ms


def test_groups_of_a_family_are_the_same_in_all_its_sets() -> None:
    one = labelled_posts("a", "f", [LabelledRow("one", 1.0, "g")])
    two = labelled_posts("b", "f", [LabelledRow("two", 0.0, "g")])
    other = labelled_posts("c", "e", [LabelledRow("two", 0.0, "g")])
    assert concatenate([one, two, other]).groups == ["f|g", "f|g", "e|g"]


def test_missing_data_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        read_csv_rows(tmp_path, "spam_youtube")


GROUPS = [f"g{i}" for i in range(5_000)]


def test_a_fifth_of_the_groups_is_for_test_and_a_fifth_for_validation() -> None:
    counts: Counter[str] = Counter(split_of("f", group) for group in GROUPS)
    for split, part in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert counts[split] / len(GROUPS) == pytest.approx(part, abs=0.02)


def test_the_split_is_fixed_for_ever() -> None:
    # A change would make test rows of rows that trained the stored models.
    expected = "test train train validation validation train test train"
    assert [split_of("f", f"g{i}") for i in range(8)] == expected.split()


def test_of_few_groups_one_is_for_test() -> None:
    for family in "abcdefgh":
        splits = dict(zip(("x", "y", "z"), splits_of(family, ["x", "y", "z"]), strict=True))
        assert sorted(splits.values()) == ["test", "train", "train"]
        assert splits["z"] == "train"
    # One group cannot both train and test.
    assert splits_of("f", ["x", "x"]) == ["test", "test"]
    assert splits_of("f", []) == []
