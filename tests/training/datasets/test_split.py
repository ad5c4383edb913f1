from collections import Counter

import pytest

from feedmill.training.datasets.split import (
    seen_by_first_edition,
    split_of,
    split_of_first_edition,
    splits_of,
)

GROUPS = [f"g{i}" for i in range(5_000)]


def test_a_fifth_of_the_groups_is_for_test_and_a_fifth_for_validation() -> None:
    counts: Counter[str] = Counter(split_of("f", group) for group in GROUPS)
    for split, part in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert counts[split] / len(GROUPS) == pytest.approx(part, abs=0.02)


def test_the_split_is_fixed_for_ever() -> None:
    # A change would make test rows of rows that trained the stored models.
    expected = "test train train validation validation train test train"
    assert [split_of("f", f"g{i}") for i in range(8)] == expected.split()


def test_the_split_says_nothing_of_the_one_of_version_0_1() -> None:
    tested = [group for group in GROUPS if split_of_first_edition("f", group) == "test"]
    again = sum(split_of("f", group) == "test" for group in tested)
    assert len(tested) / len(GROUPS) == pytest.approx(0.25, abs=0.03)
    assert again / len(tested) == pytest.approx(0.2, abs=0.04)


def test_of_few_groups_one_is_for_test_that_version_0_1_did_not_look_at() -> None:
    for family in "abcdefgh":
        splits = dict(zip(("x", "y", "z"), splits_of(family, ["x", "y", "z"]), strict=True))
        assert sorted(splits.values()) == ["test", "train", "train"]
        assert splits["z"] == "train"
    assert seen_by_first_edition("f", ["z", "x", "z", "y"]).tolist() == [True, False, True, False]
    # One group cannot both train and test.
    assert splits_of("f", ["x", "x"]) == ["test", "test"]
    assert splits_of("f", []) == []


def test_rows_that_version_0_1_was_tested_on_are_known() -> None:
    tested = seen_by_first_edition("f", GROUPS)
    assert tested.tolist() == [split_of_first_edition("f", group) == "test" for group in GROUPS]
