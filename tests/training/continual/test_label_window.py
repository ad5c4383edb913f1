"""Labels of the last days meet the versions of posts that their raters saw."""

from typing import Any

import msgspec

from builders.events import NOW_MS
from feedmill.training.continual.label_window import LabelWindow


def add_label(window: LabelWindow, post_id: str, at_ms: int, source: str = "ann") -> None:
    content = {"post_id": post_id, "target": "spam", "value": 1, "source": source, "at_ms": at_ms}
    window.add_label(post_id.encode(), msgspec.json.encode(content), at_ms)


def add_post(window: LabelWindow, post_id: str, at_ms: int, text: str = "text") -> None:
    content = {"post_id": post_id, "author_id": "a", "created_at_ms": NOW_MS, "text": text}
    window.add_post(post_id.encode(), msgspec.json.encode(content), at_ms)


def texts(window: LabelWindow, now_ms: int) -> dict[str, str]:
    return {post.post_id: post.text for post, _ in window.judged(now_ms)}


def test_a_label_meets_the_version_of_its_time_whichever_came_first() -> None:
    window = LabelWindow("spam", 1000)
    add_post(window, "p", 10, "first")
    add_label(window, "p", 15)
    add_label(window, "q", 30)
    add_post(window, "p", 20, "second")
    add_post(window, "q", 25, "third")
    assert texts(window, 40) == {"p": "first", "q": "third"}
    (_, labels), _ = window.judged(40)
    assert [label.source for label in labels] == ["ann"]


def test_old_labels_are_forgotten_with_their_posts() -> None:
    window = LabelWindow("spam", 1000)
    for post_id, at_ms in (("p", 10), ("q", 500)):
        add_post(window, post_id, at_ms)
        add_label(window, post_id, at_ms)
    assert texts(window, 1010) == {"p": "text", "q": "text"}
    assert texts(window, 1011) == {"q": "text"}
    add_label(window, "p", 1020)
    assert texts(window, 1030) == {"q": "text"}
    assert window.left_out == {"labelled posts that are not there, or were deleted": 1}


def test_posts_without_a_label_are_bounded_and_those_with_one_stay() -> None:
    window = LabelWindow("spam", 1000, most_posts=3)
    add_post(window, "kept", 1)
    add_label(window, "kept", 2)
    for n in range(5):
        add_post(window, f"p{n}", 3)
    for n in range(5):
        add_label(window, f"p{n}", 4)
    assert set(texts(window, 5)) == {"kept", "p2", "p3", "p4"}


def test_a_deleted_post_is_learned_no_more() -> None:
    window = LabelWindow("spam", 1000)
    add_post(window, "p", 1)
    add_label(window, "p", 2)
    window.add_post(b"p", None, 3)
    assert texts(window, 5) == {}


def test_broken_records_are_counted_or_passed_over() -> None:
    window = LabelWindow("spam", 1000)
    broken: list[Any] = [(None, b"{}"), (b"p", b"{"), (b"p", None)]
    for key, value in broken:
        window.add_label(key, value, 1)
        window.add_post(key, value, 1)
    assert window.judged(2) == []
    assert window.left_out == {"labels that break the contract": 3}
