"""A batch is cut where a post comes again."""

from __future__ import annotations

from feedmill.rankers.combiner.batches import distinct_parts


def test_a_part_ends_where_a_post_comes_again() -> None:
    for ids, parts in (
        ("", [""]),
        ("abc", ["abc"]),
        ("aa", ["a", "a"]),
        ("abcadbaa", ["abc", "adb", "a", "a"]),
    ):
        assert [ids[part] for part in distinct_parts(ids)] == parts
