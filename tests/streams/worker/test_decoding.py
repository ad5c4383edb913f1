"""From records to a cycle's work: posts that no model may judge come without what models read."""

from typing import Any, cast

from builders.events import NOW_MS
from builders.records import record
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Media, Post
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.worker.decoding import decode_work, read_posts

NAMES = [f"p{i}" for i in range(40)]


def post(name: str, **more: Any) -> Post:
    return Post(name, "a", NOW_MS, f"text of {name}", communities=("c",), lang="en", **more)


def batch(partition: int, *events: tuple[str, Post | None]) -> RecordBatch:
    records = [record(key, event, offset=10 + i) for i, (key, event) in enumerate(events)]
    return RecordBatch(TopicPartition("posts", partition), cast(Any, records))


def test_all_else_of_such_a_post_is_there_and_its_row_says_why() -> None:
    poison = post("p", links=("https://x.example/",), media=(Media("https://m.example/", "image"),))
    batches = [batch(0, ("a", post("a")), ("p", poison), ("d", None)), batch(0, ("p", poison))]
    work = decode_work(
        batches, [], partitions=1, now_ms=7, poisoned={0: {11: "why", 12: "deleted"}}
    )
    assert [one.text for one in work.posts.posts] == ["text of a", "", "text of p"]
    assert work.unjudged == {1: "why"}
    blank = work.posts.posts[1]
    assert (blank.links, blank.media) == (None, None)
    assert (blank.post_id, blank.communities, blank.lang) == ("p", ("c",), "en")
    assert isinstance(work.partitions[0].events[2][1], Deletion)


def test_rows_go_on_from_partition_to_partition() -> None:
    keys = [[k for k in NAMES if partition_of(k.encode(), 3) == p][:3] for p in range(3)]
    batches = [batch(p, *((key, post(key)) for key in keys[p])) for p in range(3)]
    poison = {1: {12: "last of 1"}, 2: {10: "first of 2", 99: "another time"}}
    work = decode_work(batches, [], partitions=3, now_ms=7, poisoned=poison)
    assert len(work.posts) == 9
    assert work.unjudged == {5: "last of 1", 6: "first of 2"}
    assert [not one.text for one in work.posts.posts] == [row in (5, 6) for row in range(9)]
    events = read_posts(batches[2], 3, poison[2]).events
    assert [not cast(Post, event).text for _, event in events] == [True, False, False]
