"""Recorded signals tell what other thresholds would do."""

from typing import Any

import msgspec
import pytest

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import SignalNames
from feedmill.streams.settings.gate_preview import ALL, RecentSignals, SourceRow

NAMES = SignalNames()
NOW_MS = 1_700_000_000_000
OFF = GatePolicy(enabled=False)


def add_post(signals: RecentSignals, post_id: str, offset: int = 1, **more: Any) -> None:
    content = {
        "post_id": post_id,
        "author_id": f"by-{post_id}",
        "created_at_ms": 1_700_000_000_001,
        "text": "t",
    }
    value = msgspec.json.encode({**content, **more})
    signals.add_post(post_id.encode(), value, offset, NOW_MS - 3_600_000)


def add_signal(signals: RecentSignals, post_id: str, value: float | None, **more: Any) -> None:
    content: dict[str, Any] = {"post_id": post_id, "post_offset": 1, "value": value}
    content |= {"model": "spam", "version": "v", "at_ms": 1, **more}
    if value is None:
        content["error"] = "failed"
    signals.add_signal("spam", post_id.encode(), msgspec.json.encode(content))


def gates(**fields: Any) -> dict[str, GatePolicy]:
    return {"spam": GatePolicy(**fields), "nsfw": OFF, "misinformation": OFF}


def compare(signals: RecentSignals, **fields: Any) -> list[SourceRow]:
    return signals.compare(gates(), gates(**fields), NOW_MS, examples=2)


@pytest.fixture
def signals() -> RecentSignals:
    recent = RecentSignals(NAMES)
    for post_id, value in (("a", 0.95), ("b", 0.85), ("c", 0.7), ("d", 0.1), ("e", 0.86)):
        add_post(recent, post_id, communities=["x" if value > 0.8 else "y"])
        add_signal(recent, post_id, value)
    return recent


def test_all_posts_are_decided_under_both_policies(signals: RecentSignals) -> None:
    every = compare(signals, hide_at=0.8, demote_at=0.65)[0]
    assert (every.source, every.posts) == (ALL, 5)
    assert every.before == {"show": 1, "demote": 3, "hide": 1, "hold": 0}
    assert every.after == {"show": 1, "demote": 1, "hide": 3, "hold": 0}
    assert {key: sorted(ids) for key, ids in every.examples.items()} == {
        "demote to hide": ["b", "e"]
    }


def test_sources_follow_by_the_number_of_changes(signals: RecentSignals) -> None:
    rows = compare(signals, hide_at=0.8)
    assert [row.source for row in rows[1:4]] == ["community:x", "author:by-b", "author:by-e"]
    by_source = {row.source: row for row in rows}
    assert by_source["community:x"].after["hide"] == 3
    assert not by_source["community:y"].changed
    assert by_source["author:by-b"].examples == {"demote to hide": ["b"]}


def test_only_so_many_ids_are_named_and_always_the_same(signals: RecentSignals) -> None:
    # Thresholds that are lower for all: three posts change.
    rows = signals.compare(gates(), gates(hide_at=0.65), NOW_MS, examples=2)
    again = signals.compare(gates(), gates(hide_at=0.65), NOW_MS, examples=2)
    assert len(rows[0].examples["demote to hide"]) == 2
    assert rows == again


def test_a_signal_of_an_older_version_does_not_count(signals: RecentSignals) -> None:
    add_post(signals, "a", offset=7)
    assert compare(signals)[0].before == {"show": 1, "demote": 3, "hide": 0, "hold": 1}
    add_signal(signals, "a", 0.99, post_offset=7)
    add_signal(signals, "a", 0.0, post_offset=1)
    assert compare(signals)[0].before["hide"] == 1
    # Of two of one version the higher revision counts.
    add_signal(signals, "a", 0.0, post_offset=7, revision=3)
    add_signal(signals, "a", 0.99, post_offset=7, revision=2)
    assert compare(signals)[0].before["hide"] == 0


def test_what_failed_or_was_withdrawn_or_deleted_is_told_apart(signals: RecentSignals) -> None:
    add_signal(signals, "a", None)
    signals.add_signal("spam", b"b", None)
    signals.add_post(b"c", None, 9, NOW_MS)
    signals.add_post(b"broken", b"{", 9, NOW_MS)
    signals.add_signal("spam", b"broken", b"{")
    every = compare(signals, on_failure="open")[0]
    assert every.posts == 4
    assert every.before == {"show": 1, "demote": 1, "hide": 0, "hold": 2}
    assert every.after == {"show": 3, "demote": 1, "hide": 0, "hold": 0}
