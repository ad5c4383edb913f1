from __future__ import annotations

from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.features.corpus import corpus, join, part_of, read_rows


def test_a_group_is_never_split() -> None:
    rows = corpus("s", "f", ((f"text {'x' * i}", 0.0, f"g{i % 40}") for i in range(400)))
    parts = {
        g: {p for h, p in zip(rows.groups, rows.parts, strict=True) if h == g} for g in rows.groups
    }
    assert all(len(found) == 1 for found in parts.values())
    assert {part for found in parts.values() for part in found} == {"train", "tune", "judge"}
    assert sum(len(rows.part(part)) for part in ("train", "tune", "judge")) == len(rows)


def test_two_sets_of_one_family_agree() -> None:
    assert part_of("reddit", "pics") == part_of("reddit", "pics")
    left = corpus("a", "reddit", (("a" * i, 0.0, f"g{i}") for i in range(1, 30)))
    right = corpus("b", "reddit", (("b" * i, 1.0, f"g{i}") for i in range(1, 30)))
    assert left.parts.tolist() == right.parts.tolist()


def test_repeated_and_empty_texts_are_left_out() -> None:
    rows = corpus("s", "f", [("Call 0800", 1.0, "a"), ("call  1234", 1.0, "b"), (" ", 0.0, "c")])
    assert rows.texts == ["Call 0800"]


def test_of_few_groups_the_last_judges() -> None:
    rows = corpus("s", "f", [("one", 1.0, "v1"), ("two", 0.0, "v2"), ("three", 0.0, "v3")])
    assert rows.part("judge").texts == ["three"]
    assert rows.part("train").texts == ["one", "two"]


def test_joining_keeps_groups_of_sources_apart() -> None:
    one = corpus("a", "f", [("one", 1.0, "g")])
    two = corpus("b", "f", [("two", 0.0, "g")])
    assert join([one, two]).groups == ["a|g", "b|g"]


def test_missing_data_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        read_rows(tmp_path, "spam_youtube")
