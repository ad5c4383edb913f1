"""Labels are joined with the version of a post that their raters saw."""

from typing import Any

import msgspec

from builders.events import NOW_MS
from builders.records import StoredRecord, record
from feedmill.training.label_join import LabelJoin, LabelWindow


def label(
    post_id: str, value: float, at_ms: int, source: str = "ann", target: str = "spam"
) -> StoredRecord:
    content = {
        "post_id": post_id,
        "target": target,
        "value": value,
        "source": source,
        "at_ms": at_ms,
    }
    return record(post_id, content)


def post(post_id: str, text: str, at_ms: int) -> StoredRecord:
    content = {"post_id": post_id, "author_id": "a", "created_at_ms": NOW_MS, "text": text}
    return record(post_id, content, timestamp=at_ms)


def joined(
    labels: list[StoredRecord], posts: list[StoredRecord], since_ms: int = 0
) -> tuple[LabelJoin, dict[str, Any]]:
    join = LabelJoin("spam", since_ms)
    for given in labels:
        join.add_label(given.key, given.value)
    for given in posts:
        join.add_post(given.key, given.value, given.timestamp)
    return join, {post.post_id: (post.text, value) for post, value in join.labelled()}


def test_the_text_is_the_version_that_stood_when_the_label_was_given() -> None:
    posts = [post("p", "first", 100), post("p", "second", 200), post("p", "third", 300)]
    for at_ms, text in ((100, "first"), (199, "first"), (200, "second"), (999, "third")):
        _, by_id = joined([label("p", 1, at_ms)], posts)
        assert by_id == {"p": (text, 1.0)}
    join, by_id = joined([label("p", 1, 99)], posts)
    assert by_id == {}
    assert join.left_out == {"labelled posts whose version of then is gone": 1}


def test_the_last_label_of_a_source_counts_and_sources_are_averaged() -> None:
    posts = [post("p", "text", 1)]
    twice = [label("p", 1, 50), label("p", 0, 60), label("p", 1, 40)]
    assert joined(twice, posts)[1]["p"][1] == 0.0
    several = [label("p", 1, 50), label("p", 0, 60, "bob"), label("p", 0, 60, "cy")]
    assert joined(several, posts)[1]["p"][1] == 0.0
    # A tie is no label.
    join, by_id = joined(several[:2], posts)
    assert by_id == {}
    assert join.left_out == {"labelled posts on which the raters tie": 1}


def test_a_source_that_saw_an_earlier_version_has_no_say() -> None:
    posts = [post("p", "kind", 1), post("p", "rude", 100)]
    labels = [label("p", 0, 50), label("p", 0, 51, "bob"), label("p", 1, 150, "cy")]
    assert joined(labels, posts)[1] == {"p": ("rude", 1.0)}


def test_deleted_posts_strange_targets_and_old_labels_are_left_out() -> None:
    deletion = record("p", None, timestamp=5)
    posts = [post("p", "one", 1), post("q", "two", 1), deletion, post("r", "three", 1)]
    labels = [
        *(label("p", 1, 50), label("q", 1, 50, target="nsfw"), label("r", 1, 10)),
        record("s", {"post_id": "s"}),
    ]
    join, by_id = joined(labels, posts, since_ms=20)
    assert by_id == {}
    assert join.left_out == {
        "labels that break the contract": 1,
        "labelled posts that are not there, or were deleted": 1,
    }
    assert [p.post_id for p in join.unlabelled()] == ["q", "r"]


def test_a_filter_of_ones_own_has_labels_too() -> None:
    join = LabelJoin("pills")
    for given in (label("p", 1, 50, target="pills"), label("p", 0, 60, target="potions")):
        join.add_label(given.key, given.value)
    written = post("p", "text", 1)
    join.add_post(written.key, written.value, written.timestamp)
    assert [value for _, value in join.labelled()] == [1.0]
    assert join.left_out == {"labels that break the contract": 1}


def test_a_post_is_no_younger_than_its_record() -> None:
    join, _ = joined([label("p", 1, 50)], [post("p", "text", 7)])
    assert join.labelled()[0][0].created_at_ms == 7


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
