"""The memory of posts folds one order, whatever the partitions of an instance and its restarts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from builders.records import StoredRecord
from feedmill.events.decode import decode_post, encode
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.features.history.post_history import (
    REBUILD_MS,
    CopyCounts,
    PostHistory,
    PostVersion,
)
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.stages.post_history_reader import HashedPosts, PostHistoryReader

PARTITIONS = 3
TEXT = "the quick brown fox jumps over the lazy dog while seven wizards wait for the morning train"
OTHER = "our neighbours planted forty tulips along the fence and nobody picked a single one of them"
START_MS = 1_700_000_000_000


class Topic:
    """`posts` as a broker has it: records by partition, those up to `ends` readable."""

    def __init__(self, minutes: float, seed: int = 1) -> None:
        drawn, at_ms, number = random.Random(seed), float(START_MS), 0
        self.records: list[list[StoredRecord]] = [[] for _ in range(PARTITIONS)]
        self.versions: list[tuple[int, int, int, PostVersion]] = []
        while at_ms < START_MS + minutes * 60_000:
            at_ms += drawn.random() * 8000
            post = f"p{drawn.randrange(number + 1) if drawn.random() < 0.1 else number}"
            number += 1
            words = drawn.choice((TEXT, OTHER)).split()
            words[drawn.randrange(len(words))] = drawn.choice(("often", "maybe", "seldom"))
            said = {"post_id": post, "author_id": f"a{number % 40}", "created_at_ms": 1}
            self.add(int(at_ms), post, encode({**said, "text": " ".join(words)}), said, words)
        self.ends = [len(records) for records in self.records]
        self.fetched = 0

    def add(self, at_ms: int, post: str, value: bytes, said: Any, words: list[str]) -> None:
        partition = partition_of(post.encode(), PARTITIONS)
        offset = len(self.records[partition])
        self.records[partition].append(StoredRecord(offset, at_ms, post.encode(), value))
        version = PostVersion(at_ms, post, said["author_id"], " ".join(words))
        self.versions.append((at_ms, partition, offset, version))

    def batch(self, partition: int, start: int, end: int) -> RecordBatch:
        return RecordBatch(TopicPartition("posts", partition), self.records[partition][start:end])

    def whole(self) -> dict[tuple[int, int], CopyCounts]:
        """What one fold from the beginning says."""
        ordered = sorted(self.versions, key=lambda v: v[:3])
        pasts = PostHistory().fold([v[3] for v in ordered])
        return {(v[1], v[2]): past for v, past in zip(ordered, pasts, strict=True)}


class FakeReader:
    """A `LogReader` over a `Topic`; hands out some records of some partitions at a time."""

    def __init__(self, topic: Topic, partitions: Sequence[int] | None, seed: int) -> None:
        self._topic, self._drawn = topic, random.Random(seed)
        self._chosen = range(PARTITIONS) if partitions is None else partitions
        self._position = dict.fromkeys(self._chosen, 0)
        self._skipped: set[int] = set()
        self.partitions = {"posts": PARTITIONS}
        self.eager = False

    async def start(self, starts: Mapping[TopicPartition, int] | None = None) -> None:
        for source, start in (starts or {}).items():
            self._position[source.partition] = start

    async def end_of(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {source: self._topic.ends[source.partition] for source in sources}

    async def offset_at(self, source: TopicPartition, at_ms: int) -> int | None:
        records = self._topic.records[source.partition][: self._topic.ends[source.partition]]
        return next((r.offset for r in records if r.timestamp >= at_ms), None)

    def seek(self, source: TopicPartition, offset: int) -> None:
        self._position[source.partition] = offset

    def skip(self, sources: Sequence[TopicPartition]) -> None:
        self._skipped = {source.partition for source in sources}

    async def position(self, source: TopicPartition) -> int:
        return self._position[source.partition]

    async def read(self, timeout_ms: int = 0) -> list[RecordBatch]:
        found = []
        for partition in self._chosen:
            if partition in self._skipped or self._drawn.random() < 0.3:
                continue
            start, end = self._position[partition], self._topic.ends[partition]
            end = min(end, start + self._drawn.randrange(1, 60))
            if start < end:
                self._position[partition] = end
                self._topic.fetched += end - start
                found.append(self._topic.batch(partition, start, end))
        return found

    async def stop(self) -> None:
        pass


def memory(topic: Topic, seed: int = 0) -> PostHistoryReader:
    new_reader: Any = lambda chosen: FakeReader(topic, chosen, seed)  # noqa: E731 - a fake, so Any
    return PostHistoryReader(new_reader)


def read_posts(batches: Sequence[RecordBatch]) -> HashedPosts:
    """What the stage hands over: its posts, by partition and offset."""
    posts: list[Post] = []
    rows = {}
    for batch in batches:
        for record in (r for r in batch.records if r.value != b"{"):
            post = decode_post(record.key, record.value)
            assert isinstance(post, Post)
            rows[batch.source.partition, record.offset] = len(posts)
            posts.append(post)
    return HashedPosts(rows, PostBatch(posts))


async def judge(
    topic: Topic, partitions: Sequence[int], starts: Mapping[int, int], seed: int = 0
) -> dict[tuple[int, int], CopyCounts]:
    """What an instance with these partitions says of each post from its start on."""
    remembers, drawn = memory(topic, seed), random.Random(seed)
    at = {p: starts.get(p, 0) for p in partitions}
    await remembers.begin({TopicPartition("posts", p): start for p, start in at.items()})
    found = {}
    while left := [p for p in partitions if at[p] < topic.ends[p]]:
        batches = []
        for partition in drawn.sample(left, drawn.randrange(1, len(left) + 1)):
            end = min(at[partition] + drawn.randrange(1, 30), topic.ends[partition])
            batches.append(topic.batch(partition, at[partition], end))
            at[partition] = end
        await remembers.cover(batches, read_posts(batches) if drawn.random() < 0.7 else None)
        for batch in batches:
            for record in batch.records:
                key = (batch.source.partition, record.offset)
                found[key] = remembers.past(*key)
    return found


def counted(
    pasts: Mapping[tuple[int, int], CopyCounts],
) -> dict[tuple[int, int], tuple[int, int]]:
    return {key: (past.copies, past.authors) for key, past in pasts.items()}


@pytest.mark.parametrize("seed", range(3))
def test_any_share_of_the_partitions_sees_the_same(seed: int) -> None:
    topic = Topic(minutes=30, seed=seed)
    whole = counted(topic.whole())
    for partitions in ([0, 1, 2], [0], [1, 2]):
        found = counted(asyncio.run(judge(topic, partitions, {}, seed)))
        assert found == {key: past for key, past in whole.items() if key[0] in partitions}
    assert max(copies for copies, _ in whole.values()) > 10


@pytest.mark.parametrize("seed", range(3))
def test_after_a_restart_the_same_and_only_what_is_needed_is_read(seed: int) -> None:
    topic = Topic(minutes=90, seed=seed)
    whole = counted(topic.whole())
    starts = {p: round(topic.ends[p] * (0.8 + 0.05 * p)) for p in range(PARTITIONS)}
    found = counted(asyncio.run(judge(topic, range(PARTITIONS), starts, seed)))
    assert found == {key: past for key, past in whole.items() if key[1] >= starts[key[0]]}
    earliest = min(topic.records[p][start].timestamp for p, start in starts.items())
    needed = [v for v in topic.versions if v[0] >= earliest - REBUILD_MS - 60_000]
    assert topic.fetched <= len(needed) + 60 * PARTITIONS


def test_a_partition_taken_over_where_the_memory_is_past_begins_anew() -> None:
    topic = Topic(minutes=60)
    whole = counted(topic.whole())

    async def take_over() -> dict[tuple[int, int], CopyCounts]:
        remembers = memory(topic)
        late = {TopicPartition("posts", 0): topic.ends[0] - 5}
        await remembers.begin(late)
        await remembers.cover([topic.batch(0, topic.ends[0] - 5, topic.ends[0])])
        early = topic.ends[1] // 3
        await remembers.begin({**late, TopicPartition("posts", 1): early})
        await remembers.cover([topic.batch(1, early, topic.ends[1])])
        return {(1, o): remembers.past(1, o) for o in range(early, topic.ends[1])}

    found = counted(asyncio.run(take_over()))
    assert found == {key: whole[key] for key in found}


def test_records_of_others_that_come_later_are_waited_for_by_nobody() -> None:
    """A quiet partition's end is enough: nothing is waited for that is not there."""
    topic = Topic(minutes=20)
    topic.ends[1] = topic.ends[2] = 0

    async def judged() -> CopyCounts:
        remembers = memory(topic)
        await remembers.begin({TopicPartition("posts", 0): 0})
        await remembers.cover([topic.batch(0, 0, topic.ends[0])])
        return remembers.past(0, topic.ends[0] - 1)

    assert asyncio.run(asyncio.wait_for(judged(), 10)).copies > 0


def test_bad_records_are_passed_over() -> None:
    topic = Topic(minutes=20)
    for records in topic.records:
        records[3].value = b"{"
    topic.versions = [v for v in topic.versions if v[2] != 3]
    found = counted(asyncio.run(judge(topic, range(PARTITIONS), {})))
    whole = counted(topic.whole())
    assert {key: past for key, past in found.items() if key[1] != 3} == whole
