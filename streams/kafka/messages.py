"""Makes record batches and events of partitions out of the client's messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, cast

from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batch_headers import BatchHeaders, PassedBatch
from feedmill.streams.kafka.batches import FetchedRecords, Headers, TopicPartition, record_bytes

# The most messages that one call asks for; the first call asks for few, so that large messages
# hardly exceed the bound on bytes.
_SLICE, _FIRST_SLICE = 64, 16
# How long a reader that catches up waits for more: a fetch has few records, and a cycle costs.
_GATHER_S = 0.02
# A passed batch ends a fetch, and there may be hundreds, with records between.  A reader without a
# backlog goes on for so long behind one, while the next fetch comes within so much.
_PASSING_S, _NEXT_S = 0.08, 0.01


@dataclass
class Fetched:
    """What one read of a consumer brought.

    Attributes
    ----------
    records
        By partition, in the order of their offsets.
    ends
        Partitions that were read to their end, and the offset there: beyond markers of
        transactions and aborted records, which are never handed out.
    create_times
        Partitions whose records have the producer's timestamps, CreateTime.
    errors
        Errors of partitions; `source` is None where one is about the client.
    headers
        By partition and offset, of the records that have some; None where nobody asked for them.
    has_passed
        Whether batches were passed.
    """

    records: dict[TopicPartition, FetchedRecords] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    create_times: set[TopicPartition] = field(default_factory=set)
    errors: list[tuple[TopicPartition | None, KafkaError]] = field(default_factory=list)
    headers: dict[TopicPartition, dict[int, Headers]] | None = None
    has_passed: bool = False


NOTHING = Fetched()


class Most(NamedTuple):
    """The limits of one read: records, and about so many bytes."""

    records: int
    size: int


def fetch(
    consumer: Consumer,
    headers: BatchHeaders,
    most: Most,
    *,
    wait_s: float,
    gathers: bool = False,
    keeps_headers: bool = False,
) -> Fetched:
    """Take a consumer's messages; wait for the first if there are none.

    With `gathers` it waits a moment for more, too.  Calls the consumer's rebalance callbacks.  A
    batch that the client cannot inflate is passed by its header: one record stands for it, a
    `PassedBatch`.
    """
    if wait_s > 0:
        # `consume` with a timeout would wait for a fuller list.
        first = consumer.poll(wait_s)
        messages = [] if first is None else [first]
    else:
        messages = consumer.consume(min(most.records, _FIRST_SLICE), 0)
    if not messages:
        return NOTHING
    fetched = Fetched(headers={} if keeps_headers else None)
    sort, end = partial(_sort, consumer, headers), time.monotonic() + _GATHER_S
    taken = size = 0
    while messages:
        size += sort(messages, fetched)
        if fetched.headers is not None:
            _keep_headers(messages, fetched.headers, headers.environment.named)
        taken += len(messages)
        if taken >= most.records or size >= most.size:
            break
        alike = (most.size - size) * taken // max(size, 1)
        if fetched.has_passed:
            if gathers or time.monotonic() > end + _PASSING_S:
                break
            messages = consumer.consume(1, _NEXT_S)
            continue
        left_s = max(0.0, end - time.monotonic()) if gathers else 0.0
        messages = consumer.consume(min(most.records - taken, _SLICE, max(alike, 1)), left_s)
    return fetched


def _sort(
    consumer: Consumer, headers: BatchHeaders, messages: Sequence[Message], fetched: Fetched
) -> int:
    """Put messages where they belong; return what they take."""
    name = headers.environment.named
    size = 0
    for (topic, partition, is_record), run in _runs(messages):
        if not is_record:
            for message in run:
                error = cast(KafkaError, message.error())
                if error.code() == KafkaError._BAD_COMPRESSION:
                    _pass_batch(consumer, headers, message, fetched)
                else:
                    _take_error(message, error, fetched, name)
            continue
        into = _columns(TopicPartition(name(topic), partition), run[0], fetched)
        keys, values = [*map(Message.key, run)], [*map(Message.value, run)]
        into.offsets += map(Message.offset, run)
        into.timestamps += [at_ms for _, at_ms in map(Message.timestamp, run)]
        into.keys += keys
        into.values += values
        size += record_bytes(keys, values)
    return size


def _keep_headers(
    messages: Sequence[Message],
    into: dict[TopicPartition, dict[int, Headers]],
    name: Callable[[str], str],
) -> None:
    for message in messages:
        if message.error() is None and (found := message.headers()):
            source = TopicPartition(
                name(cast(str, message.topic())), cast(int, message.partition())
            )
            into.setdefault(source, {})[cast(int, message.offset())] = found


def _columns(source: TopicPartition, first: Message, fetched: Fetched) -> FetchedRecords:
    """The columns of a partition; new ones begin with this message."""
    into = fetched.records.get(source)
    if into is None:
        into = fetched.records[source] = FetchedRecords()
        if first.timestamp()[0] == TIMESTAMP_CREATE_TIME:
            fetched.create_times.add(source)
    return into


def _runs(messages: Sequence[Message]) -> Iterable[tuple[tuple[Any, ...], Sequence[Message]]]:
    """Messages that follow each other and are of one partition, records or errors."""
    topics, partitions = [*map(Message.topic, messages)], [*map(Message.partition, messages)]
    are_records = [error is None for error in map(Message.error, messages)]
    columns = topics, partitions, are_records
    if all(column.count(column[0]) == len(messages) for column in columns):
        # Nearly always so in a long list.
        return [((topics[0], partitions[0], are_records[0]), messages)]
    runs = groupby(zip(*columns, messages, strict=True), itemgetter(0, 1, 2))
    return ((place, [message for *_, message in run]) for place, run in runs)


def _pass_batch(
    consumer: Consumer, headers: BatchHeaders, message: Message, fetched: Fetched
) -> None:
    """Go on behind a batch that cannot be inflated, once its end is known."""
    name = headers.environment.named(cast(str, message.topic()))
    source = TopicPartition(name, cast(int, message.partition()))
    if source in fetched.records and message.offset() <= fetched.records[source].offsets[-1]:
        return  # reported before the client went on
    for header in headers.pass_batches(consumer, source, message):
        fetched.has_passed = True
        into = fetched.records.setdefault(source, FetchedRecords())
        into.offsets.append(header.last)
        into.timestamps.append(header.at_ms)
        into.keys.append(None)
        into.values.append(PassedBatch(header))


def _take_error(
    message: Message, error: KafkaError, fetched: Fetched, name: Callable[[str], str]
) -> None:
    topic, partition = message.topic(), message.partition()
    source = None if topic is None else TopicPartition(name(topic), partition)
    if error.code() == KafkaError._PARTITION_EOF and source is not None:
        fetched.ends[source] = message.offset()
    else:
        fetched.errors.append((source, error))


def last_known_end(
    consumer: Consumer | None, environment: Environment, source: TopicPartition, least: int
) -> int:
    """Return the end of a partition that a consumer reads, as last heard of; `least` or later."""
    if consumer is None:
        return least
    place = KafkaPartition(environment.topic(source.topic), source.partition)
    try:
        found = consumer.get_watermark_offsets(place, cached=True)
    except KafkaException:
        return least
    return max(least, found[1]) if found else least


def is_out_of_range(error: KafkaError) -> bool:
    """Return whether an offset is not in the log; the client never resets it by itself."""
    return bool(error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE))
