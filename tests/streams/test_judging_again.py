from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from feedmill.events.rules import read_rules
from feedmill.filters.rules import RuleSet
from feedmill.streams import judging_again
from feedmill.streams.batches import RecordBatch, Source
from feedmill.streams.judging_again import Search


@dataclass
class Written:
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1000


def rules(phrase: str, **more: Any) -> RuleSet:
    return RuleSet(read_rules({"r": {"verdict": "hide", "phrases": [phrase], **more}}))


def post(offset: int, post_id: str, text: str) -> Written:
    value = {"post_id": post_id, "author_id": "a", "created_at_ms": 1, "text": text}
    return Written(offset, post_id.encode(), json.dumps(value).encode())


def searched(*records: Written, rule_sets: tuple[RuleSet, ...] = (rules("new"),)) -> Search:
    search = Search(rule_sets)
    for record in records:
        search.look_at(RecordBatch(Source("posts", 0), [record]), 1)
    return search


def taken(search: Search) -> set[int]:
    offsets = set()
    while search:
        offsets |= {record.offset for record, _ in search.take(1)}
    return offsets


def test_posts_that_the_new_or_an_earlier_set_of_rules_hits_are_found() -> None:
    posts = post(0, "p", "something new"), post(1, "q", "something old"), post(2, "r", "neither")
    assert taken(searched(*posts, rule_sets=(rules("new"), rules("old")))) == {0, 1}
    assert taken(searched(*posts, rule_sets=(RuleSet({}), rules("old")))) == {1}
    assert taken(searched(*posts, rule_sets=(rules("new", expires_at_ms=1000),))) == set()


def test_the_last_version_counts_and_a_deleted_post_does_not() -> None:
    search = searched(
        post(0, "edited", "new"),
        post(1, "edited", "other"),
        post(2, "became", "other"),
        post(3, "became", "new"),
        post(4, "deleted", "new"),
        Written(5, b"deleted", None),
        post(6, "again", "new"),
        Written(7, b"again", None),
        post(8, "again", "new"),
    )
    assert taken(search) == {3, 8}


def test_a_bad_record_takes_nothing_away() -> None:
    assert taken(searched(post(0, "p", "new"), Written(1, b"p", b"{"))) == {0}


def test_what_the_stage_has_judged_in_a_newer_version_is_left_to_it() -> None:
    search = searched(post(0, "p", "new"), post(1, "q", "new"))
    search.note([post(1, "q", "new"), post(5, "p", "other")])
    assert taken(search) == {1}


def test_memory_is_bounded_by_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging_again, "MOST_POSTS", 3)
    assert taken(searched(*(post(i, f"p{i}", "new") for i in range(10)))) == {7, 8, 9}
