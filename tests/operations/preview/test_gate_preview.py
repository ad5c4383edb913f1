"""Recorded signals tell what other thresholds would do."""

from typing import Any

import pytest

from builders.events import post, signal
from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.operations.preview.gate_preview import ALL, SourcedView, SourceRow, compare_gates
from feedmill.operations.preview.view_by_log import forget_changes

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
OFF = GatePolicy(enabled=False)


def add_post(view: SourcedView, post_id: str, offset: int = 1, **more: Any) -> None:
    fields = {"author_id": f"by-{post_id}", "created_at_ms": NOW_MS - HOUR_MS, **more}
    view.update_posts([post(post_id, **fields)], [offset], [NOW_MS - HOUR_MS])


def add_signal(view: SourcedView, post_id: str, value: float | None, **more: Any) -> None:
    offset = more.pop("post_offset", 1)
    error = None if value is not None else "failed"
    view.update_signals("spam", [signal(post_id, offset, value, error=error, **more)])


def gates(**fields: Any) -> dict[str, GatePolicy]:
    return {"spam": GatePolicy(**fields), "nsfw": OFF, "misinformation": OFF}


def compare(view: SourcedView, **fields: Any) -> list[SourceRow]:
    return compare_gates(view, gates(), gates(**fields), NOW_MS, examples=2)


@pytest.fixture
def view() -> SourcedView:
    recent = SourcedView(SignalNames())
    for post_id, value in (("a", 0.95), ("b", 0.85), ("c", 0.7), ("d", 0.1), ("e", 0.86)):
        add_post(recent, post_id, communities=("x" if value > 0.8 else "y", "x"), lang="en")
        add_signal(recent, post_id, value)
    return recent


def test_all_posts_are_decided_under_both_policies(view: SourcedView) -> None:
    every = compare(view, hide_at=0.8, demote_at=0.65)[0]
    assert (every.source, every.posts) == (ALL, 5)
    assert every.before == {"show": 1, "demote": 3, "hide": 1, "hold": 0}
    assert every.after == {"show": 1, "demote": 1, "hide": 3, "hold": 0}
    assert {key: sorted(ids) for key, ids in every.examples.items()} == {
        "demote to hide": ["b", "e"]
    }


def test_sources_follow_by_the_number_of_changes(view: SourcedView) -> None:
    links = ("https://shop.example.com/", "https://b.net/")
    add_post(view, "e", offset=2, communities=("x",), links=links)
    add_signal(view, "e", 0.86, post_offset=2)
    rows = compare(view, hide_at=0.8)
    names = [row.source for row in rows]
    assert names[:4] == [ALL, "community:x", "author:by-b", "author:by-e"]
    assert names[4:7] == ["host:b.net", "host:example.com", "lang:en"]
    by_source = {row.source: row for row in rows}
    assert (by_source["community:x"].posts, by_source["community:x"].after["hide"]) == (5, 3)
    assert (by_source["community:y"].posts, by_source["lang:en"].posts) == (2, 4)
    assert not by_source["community:y"].changed
    assert by_source["author:by-b"].examples == {"demote to hide": ["b"]}


def test_only_so_many_ids_are_named_and_always_the_same(view: SourcedView) -> None:
    # Thresholds that are lower for all: three posts change.
    rows = compare(view, hide_at=0.65)
    assert len(rows[0].examples["demote to hide"]) == 2
    assert rows == compare(view, hide_at=0.65)


def test_a_signal_of_an_older_version_does_not_count(view: SourcedView) -> None:
    add_post(view, "a", offset=7)
    assert compare(view)[0].before == {"show": 1, "demote": 3, "hide": 0, "hold": 1}
    add_signal(view, "a", 0.99, post_offset=7)
    add_signal(view, "a", 0.0, post_offset=1)
    assert compare(view)[0].before["hide"] == 1
    # Of two of one version the higher revision counts.
    add_signal(view, "a", 0.0, post_offset=7, revision=3)
    add_signal(view, "a", 0.99, post_offset=7, revision=2)
    assert compare(view)[0].before["hide"] == 0


def test_what_failed_or_was_withdrawn_or_deleted_is_told_apart(view: SourcedView) -> None:
    add_signal(view, "a", None)
    view.update_signals("spam", ["b"])
    view.update_posts([Deletion("c", deleted=True)], [9], [NOW_MS])
    add_signal(view, "of nobody", 0.5)  # of a post from before
    forget_changes(view)
    every = compare(view, on_failure="open")[0]
    assert every.posts == 4
    assert every.before == {"show": 1, "demote": 1, "hide": 0, "hold": 2}
    assert every.after == {"show": 3, "demote": 1, "hide": 0, "hold": 0}


def test_what_a_moderator_decided_stays(view: SourcedView) -> None:
    allowed = Override(verdict="allow", by="mo", reason="", at_ms=1)
    view.update_override(OverrideKey("author", "by-b", "*"), allowed)
    every = compare(view, hide_at=0.8)[0]
    assert every.before == {"show": 2, "demote": 2, "hide": 1, "hold": 0}
    assert every.examples == {"demote to hide": ["e"]}
