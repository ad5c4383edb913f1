"""Makes a `WorkBatch` of what the consumers took: each record is decoded and validated once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from feedmill.events.decode import decode_engagement, decode_post, decode_posts
from feedmill.events.post import Deletion, Post
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.kafka.validation import (
    RejectedRecord,
    ValidatedBatch,
    last_of_each,
    validate_batch,
)
from feedmill.streams.observe.legs import Arrivals
from feedmill.streams.worker.step import (
    NO_POISON,
    EngagementPartition,
    LatestEvent,
    NeverWas,
    Poisoned,
    PostPartition,
    WorkBatch,
    each_may_have_been,
)


def read_posts(
    batch: RecordBatch, partitions: int, poisoned: Mapping[int, str]
) -> ValidatedBatch[Post | Deletion]:
    """Decode records of `posts`; a post whose offset is in `poisoned` comes without its text.

    `partitions` is how many partitions the topic has.
    """
    found = validate_batch(batch, partitions, decode_post, decode_posts)
    if not poisoned:
        return found
    events = [
        (record, _blank(event) if record.offset in poisoned else event)
        for record, event in found.events
    ]
    return ValidatedBatch(events, found.rejected)


def poison_of(
    records: Sequence[Record], poisoned: Mapping[int, str], first: int = 0
) -> dict[int, str]:
    """Return why no model judges a record, by its place; the first record has the place `first`."""
    return {
        place: poisoned[record.offset]
        for place, record in enumerate(records, first)
        if record.offset in poisoned
    }


def _blank(event: Post | Deletion) -> Post | Deletion:
    """Leave out what models read of a post; feeds need only the rest."""
    if isinstance(event, Deletion):
        return event
    return msgspec.structs.replace(event, text="", links=None, media=None)


def decode_work(  # noqa: PLR0913 - all but two are given by name
    posts: Iterable[RecordBatch],
    engagements: Iterable[RecordBatch],
    *,
    partitions: int,
    now_ms: int,
    arrivals: Sequence[Arrivals] = (),
    poisoned: Poisoned = NO_POISON,
    never_was: NeverWas = each_may_have_been,
) -> WorkBatch:
    """Decode one cycle's records; a bad record raises nothing and stands in `rejected`.

    `partitions` is how many partitions `posts` and `engagements` have.  The deletion of a post that
    `never_was` is not among `latest`.
    """
    unjudged: dict[int, str] = {}
    read: list[Post] = []
    records: list[Record] = []
    by_partition, latest, rejected = [], [], []
    for batch in posts:
        poison = poisoned.get(batch.source.partition, {})
        valid = read_posts(batch, partitions, poison)
        rejected += valid.rejected
        if not valid.events:
            continue
        first = len(read)
        for record, event in valid.events:
            if isinstance(event, Post):
                read.append(event)
                records.append(record)
        rows = range(first, len(read))
        if poison:
            unjudged |= poison_of(records[first:], poison, first)
        by_partition.append(PostPartition(batch.source, valid.events, rows))
        latest += _latest(batch.source.partition, valid.events, rows, never_was)
    counted, more = _engagements(engagements, partitions)
    return WorkBatch(
        now_ms=now_ms,
        partitions=by_partition,
        posts=PostBatch(read),
        records=records,
        unjudged=unjudged,
        latest=latest,
        newest=[*{event.partition: event for event in latest}.values()],
        engagements=counted,
        rejected=rejected + more,
        arrivals=arrivals,
    )


def _latest(
    partition: int,
    events: list[tuple[Record, Post | Deletion]],
    rows: range,
    never_was: NeverWas,
) -> list[LatestEvent]:
    posts = [record.offset for record, event in events if isinstance(event, Post)]
    row_of = dict(zip(posts, rows, strict=True))
    return [
        LatestEvent(partition, record, event, row_of.get(record.offset, -1))
        for record, event in last_of_each(events)
        if not (isinstance(event, Deletion) and never_was(partition, event.post_id))
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
