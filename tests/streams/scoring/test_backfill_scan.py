from typing import Any

import pytest

from builders.events import NOW_MS
from builders.records import StoredRecord, record, record_batch
from feedmill.events.rules import decode_rules
from feedmill.events.signal import SignalNames
from feedmill.filters.rules import RuleSet
from feedmill.streams.scoring import backfill_scan as rule_search
from feedmill.streams.scoring.backfill_scan import BackfillScan

NONE = RuleSet({})


def rules(phrase: str, **more: Any) -> RuleSet:
    return RuleSet(decode_rules({"r": {"verdict": "hide", "phrases": [phrase], **more}}))


def post(offset: int, post_id: str, text: str) -> StoredRecord:
    value = {"post_id": post_id, "author_id": "a", "created_at_ms": NOW_MS, "text": text}
    return record(post_id, value, offset=offset, timestamp=NOW_MS)


def signal(post_id: str, post_offset: int, model: str = "spam", **more: Any) -> StoredRecord:
    said = {"post_id": post_id, "post_offset": post_offset, "value": 0.5, "model": model}
    value = {**said, "version": "v", "at_ms": 1, **more}
    return record(post_id, value, timestamp=NOW_MS)


def searched(
    posts: list[StoredRecord], signals: list[StoredRecord], rule_set: RuleSet
) -> BackfillScan:
    """A search that has read these, each record in a batch of its own."""
    search = BackfillScan("spam", SignalNames(), rule_set)
    for one in posts:
        search.scan_posts(record_batch("posts", [one]), 1)
    for one in signals:
        search.scan_signals(record_batch("signals.spam", [one]))
    return search


def taken(search: BackfillScan) -> dict[tuple[str, int], str | None]:
    """By post and version that were found the rule that decides now."""
    found = {}
    while search:
        for one in search.take(1):
            rule = None if one.hit is None else one.hit.rule
            found[one.signal.post_id, one.signal.post_offset] = rule
    return found


def test_posts_that_the_rules_hit_and_those_that_a_rule_decided_are_found() -> None:
    posts = [post(i, p, text) for i, (p, text) in enumerate(
        [("p", "something new"), ("q", "something old"), ("r", "neither"), ("s", "all new")]
    )]  # fmt: skip
    signals = [signal("p", 0), signal("q", 1, "rule"), signal("r", 2), signal("s", 3, "rule")]
    found = {("p", 0): "r", ("q", 1): None, ("s", 3): "r"}
    assert taken(searched(posts, signals, rules("new"))) == found
    no_longer = dict.fromkeys([("q", 1), ("s", 3)])
    assert taken(searched(posts, signals, rules("new", expires_at_ms=1000))) == no_longer
    assert taken(searched([], signals, NONE)) == no_longer


def test_what_is_not_judged_yet_is_left_to_the_stage() -> None:
    posts = [post(0, "edited", "new"), post(1, "edited", "all new"), post(2, "fresh", "new")]
    assert taken(searched(posts, [signal("edited", 0)], rules("new"))) == {}


def test_the_last_signal_counts_and_a_deleted_post_has_none() -> None:
    posts = [post(0, "p", "new"), post(1, "p", "other"), post(2, "q", "new")]
    signals = [
        signal("p", 0, "rule"),
        signal("q", 2),
        signal("p", 1),
        StoredRecord(9, NOW_MS, b"q", None),
    ]
    assert taken(searched(posts, signals, rules("new"))) == {}
    assert taken(searched(posts, signals[:2], rules("new"))) == {("p", 0): "r", ("q", 2): "r"}


def test_versions_before_what_was_read_keep_what_a_rule_said() -> None:
    signals = [signal("old", 3, "rule"), signal("read", 5, "rule"), signal("late", 6, "rule")]
    assert taken(searched([post(5, "read", "x")], signals, rules("new"))) == {("read", 5): None}
    assert len(taken(searched([], signals, NONE))) == 3


def test_bad_records_are_passed_over() -> None:
    posts = [post(0, "p", "new"), StoredRecord(1, NOW_MS, b"p", b"{")]
    signals = [
        signal("p", 0),
        StoredRecord(1, NOW_MS, b"q", b'{"model": "rule"'),
        signal("r", 2, "rule", value=7),
    ]
    assert taken(searched(posts, signals, rules("new"))) == {("p", 0): "r"}


def test_what_the_stage_has_judged_meanwhile_is_left_to_it() -> None:
    posts = [post(0, "p", "new"), post(1, "q", "new"), post(2, "r", "new")]
    search = searched(posts, [signal("p", 0), signal("q", 1), signal("r", 2)], rules("new"))
    search.note([post(1, "q", "new"), post(5, "p", "other")])
    assert taken(search) == {("r", 2): "r"}


def test_memory_is_bounded_by_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_search, "MOST_POSTS", 3)
    posts = [post(i, f"p{i}", "new") for i in range(10)]
    signals = [signal(f"p{i}", i, "rule") for i in range(10)]
    newest = {(f"p{i}", i): "r" for i in (7, 8, 9)}
    assert taken(searched(posts, signals[::-1], rules("new"))) == newest
    assert taken(searched([], signals, NONE)) == dict.fromkeys(newest)
