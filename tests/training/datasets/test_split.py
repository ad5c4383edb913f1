from collections import Counter

import pytest

from feedmill.training.datasets.split import split_of, splits_of

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
