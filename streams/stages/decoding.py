"""From what the consumers took to a `WorkBatch`: decoded, validated and hashed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.decode_many import decode_posts
from feedmill.events.post import Deletion, Post
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.kafka.validation import RejectedRecord, last_of_each, validate_batch
from feedmill.streams.observe.legs import Arrivals
from feedmill.streams.stages.step import (
    EngagementPartition,
    LatestEvent,
    PostPartition,
    WorkBatch,
)


def engagement_room(batch_records: int, posts: int) -> int:
    """Return how many engagements a cycle may take beside so many posts.

    Posts come first where there is more than can be done.  A part is left to engagements, which
    cost little beside posts, so that a flood of posts does not keep every count where it is.
    """
    return max(batch_records - posts, batch_records // 4, 1)


def decode_work(
    posts: Iterable[RecordBatch],
    engagements: Iterable[RecordBatch],
    *,
    partitions: int,
    epoch: int,
    now_ms: int,
    arrivals: Sequence[Arrivals] = (),
) -> WorkBatch:
    """Decode one cycle's records; nothing raises, what is bad stands in `rejected`.

    `partitions` is how many `posts` and `engagements` have.
    """
    read: list[Post] = []
    records: list[Record] = []
    by_partition, latest, rejected = [], [], []
    for batch in posts:
        valid = validate_batch(batch, partitions, decode_post, decode_posts)
        rejected += valid.rejected
        if not valid.events:
            continue
        first = len(read)
        for record, event in valid.events:
            if isinstance(event, Post):
                read.append(event)
                records.append(record)
        rows = range(first, len(read))
        by_partition.append(PostPartition(batch.source, valid.events, rows))
        latest += _latest(batch.source.partition, valid.events, rows)
    counted, more = _engagements(engagements, partitions)
    return WorkBatch(
        epoch=epoch,
        now_ms=now_ms,
        partitions=by_partition,
        posts=PostBatch(read),
        records=records,
        latest=latest,
        engagements=counted,
        rejected=rejected + more,
        arrivals=arrivals,
    )


def _latest(
    partition: int, events: list[tuple[Record, Post | Deletion]], rows: range
) -> list[LatestEvent]:
    posts = [record.offset for record, event in events if isinstance(event, Post)]
    row_of = dict(zip(posts, rows, strict=True))
    return [
        LatestEvent(partition, record, event, row_of.get(record.offset, -1))
        for record, event in last_of_each(events)
    ]


def _engagements(
    batches: Iterable[RecordBatch], partitions: int
) -> tuple[Sequence[EngagementPartition], list[RejectedRecord]]:
    counted, rejected = [], []
    for batch in batches:
        valid = validate_batch(batch, partitions, decode_engagement)
        rejected += valid.rejected
        if valid.events:
            counted.append(EngagementPartition(batch.source, valid.events))
    return counted, rejected
