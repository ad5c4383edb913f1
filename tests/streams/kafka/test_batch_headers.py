"""Compressed batches that librdkafka does not inflate are passed, by every reader."""

import json

import pytest

from builders.bombs import Sent, bomb, keep_codecs, send_batch
from builders.kafka_log import KafkaLog, until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import decode_post
from feedmill.streams.kafka.batch_headers import BatchHeaders, PassedBatch, refused_rows
from feedmill.streams.kafka.batches import FetchedRecord, Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.dead_letters import letter_of
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.kafka.validation import validate_batch

POSTS = TopicPartition("posts", 0)
CODECS = ("gzip", "snappy", "lz4", "zstd")
# What inflates to 20 MB: 40 records.
LARGE = bomb("zstd", 20_000_000)


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, partitions=1)


def send(kafka: KafkaLog, batch: bytes) -> Sent:
    return send_batch(kafka.environment.kafka, kafka.environment.topic("posts"), 0, batch)


def write(kafka: KafkaLog, *names: str, **settings: str) -> None:
    kafka.produce("posts", [(name.encode(), b"value") for name in names], **settings)


def read(log: LogConsumer, *, until_live: bool = False) -> list[Record]:
    """What comes in a moment, or until the log is live."""
    found: list[Record] = []

    def turn() -> None:
        found.extend(record for batch in log.read(100, 0.01) for record in batch.records)

    turn()
    if until_live:
        until(log.all_live, turn)
    return found


def test_the_first_batch_is_passed_with_those_behind_it_that_are_too_large() -> None:
    small = bomb("zstd", 3_000, record_bytes=1_000)
    ((alone,), _) = refused_rows(small + small + LARGE)
    assert (alone.first, alone.last, alone.records, alone.codec) == (0, 2, 3, "zstd")
    assert alone.compressed_bytes == len(small) - 12
    assert [*map(len, refused_rows(LARGE * 3 + small + LARGE))] == [3, 1]
    # The client inflates it, whatever its size.
    assert [*map(len, refused_rows(LARGE + bomb("gzip", 20_000_000)))] == [1]


def test_of_a_batch_that_is_cut_the_header_is_enough() -> None:
    assert [one.last for one in refused_rows(LARGE[:80])[0]] == [39]
    assert [*map(len, refused_rows(LARGE + LARGE[:-1]))] == [1]
    assert refused_rows(LARGE[:60]) == []


def test_a_passed_batch_is_one_bad_record_with_a_letter_of_its_range() -> None:
    ((header,),) = refused_rows(LARGE)
    value = PassedBatch(header._replace(first=10, last=49))
    record = FetchedRecord(49, header.at_ms, None, value)
    (rejected,) = validate_batch(RecordBatch(POSTS, [record]), 1, decode_post).rejected
    letter = letter_of(rejected, "engagement", 7, POSTS)
    headers = dict(letter.headers)
    assert (letter.key, headers["offset"], headers["records"]) == (None, b"10", b"40")
    assert json.loads(letter.value or b"")["ranges"] == [[10, 49]]
    assert "offsets 10 to 49" in headers["error"].decode()


def test_a_log_is_restored_past_such_batches_also_at_its_end(kafka: KafkaLog) -> None:
    write(kafka, "a")
    passed = [send(kafka, LARGE) for _ in range(3)]
    write(kafka, "b")
    passed.append(send(kafka, LARGE))
    connection = Connection(kafka.environment)
    log = LogConsumer(connection, "posts", live=True)
    log.add({POSTS: BEGINNING})
    records = read(log, until_live=True)
    assert [record.key for record in records] == [b"a", None, None, None, b"b", None]
    assert [r.offset for r in records if r.key is None] == [at.last for at in passed]
    assert log.positions() == {POSTS: passed[-1].last + 1}

    # A live reader passes them, too, and one that begins within one goes on behind it.
    passed.append(send(kafka, LARGE))
    write(kafka, "c")
    until(lambda: log.positions()[POSTS] == passed[-1].last + 2, lambda: read(log))
    log.drop([POSTS])
    log.add({POSTS: passed[1].first + 5})
    records = read(log, until_live=True)
    assert [record.key for record in records] == [None, None, b"b", None, None, b"c"]
    assert connection.headers.take_passed() == {"posts": 9}
    log.close()
    connection.close()


def test_batches_between_good_records_are_known_by_one_answer(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"p{i}" for i in range(20)]
    for name in names:
        send(kafka, LARGE)
        write(kafka, name)
    asked: list[int] = []
    fetch = BatchHeaders._fetch

    def fetch_once(headers: BatchHeaders, source: TopicPartition, offset: int) -> bytes:
        asked.append(offset)
        return fetch(headers, source, offset)

    monkeypatch.setattr(BatchHeaders, "_fetch", fetch_once)
    connection = Connection(kafka.environment)
    for _ in range(2):
        log = LogConsumer(connection, "posts")
        log.add({POSTS: BEGINNING})
        records = read(log, until_live=True)
        assert [r.key for r in records if r.key] == [name.encode() for name in names]
        assert len(records) == 40
        log.close()
    assert asked == [0]
    connection.close()


def test_posts_that_wait_come_in_order_around_a_passed_batch(
    stack: StackAddress, prefix: str
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, partitions=2)
    names = [f"p{i}" for i in range(60)]
    write(kafka, *names[:30])
    passed = send(kafka, LARGE)
    write(kafka, *names[30:])
    connection = Connection(kafka.environment)
    consumer = GroupConsumer(connection, "g", owner="me", on_revoked=lambda: True)
    consumer.start()
    batches: list[RecordBatch] = []

    def turn() -> None:
        batches.extend(consumer.poll(100, 0.01))
        change = consumer.take_change()
        if change is not None:
            consumer.begin(change.owned, change.owned)

    until(lambda: consumer.is_live, turn)
    keys = [record.key for batch in batches for record in batch.records]
    assert sorted(filter(None, keys)) == sorted(name.encode() for name in names)
    assert keys.count(None) == 1
    assert {key for key in keys[: keys.index(None)] if key} == {n.encode() for n in names[:30]}
    assert consumer.positions()[POSTS] > passed.last
    consumer.close()
    connection.close()


def test_commands_read_every_codec_past_such_batches(kafka: KafkaLog) -> None:
    keep_codecs(kafka.environment.kafka, kafka.environment.topic("posts"))
    for codec in CODECS:
        write(kafka, f"before-{codec}", **{"compression.type": codec})
    passed = send(kafka, LARGE)
    for codec in CODECS:
        write(kafka, f"after-{codec}", **{"compression.type": codec})
    with open_topic(kafka.environment, "posts") as reader:
        reader.seek_to_beginning()
        records = list(reader.read_to_end())
        assert [record.key for record in records] == [
            *(f"before-{codec}".encode() for codec in CODECS),
            None,
            *(f"after-{codec}".encode() for codec in CODECS),
        ]
        assert records[4].offset == passed.last
        write(kafka, "later")
        send(kafka, LARGE)
        assert [record.key for record in reader.read_to_end()] == [b"later", None]
        assert list(reader.read_to_end()) == []
