"""Rejected records are sent again once, on a real Kafka."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from builders.kafka_log import KafkaLog
from builders.written_letters import BAD_POST, GOOD_POST, write_letter, write_range_letter
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.events.partition import partition_of
from feedmill.operations import changes
from feedmill.operations.changes import MadeBy
from feedmill.operations.dead_letter_replay import DeadLetterReplayer, ReplayOutcome, open_replayer
from feedmill.streams.kafka.dead_letters import (
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    DeadLetterLog,
    open_dead_letters,
)


@pytest.fixture
def log(stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch) -> KafkaLog:
    """Topics on which what was sent is visible at once, however slow the machine is."""
    monkeypatch.setattr(changes, "_VISIBLE_S", 60.0)
    return KafkaLog.created(stack.kafka, prefix)


@contextmanager
def opened(log: KafkaLog) -> Iterator[tuple[DeadLetterLog, DeadLetterReplayer]]:
    with ExitStack() as stack:
        letters = stack.enter_context(open_dead_letters(log.environment))
        ann = MadeBy("ann", "root", "here", "dead-letters replay", "it was our bug")
        replayer = open_replayer(log.environment, letters, ann, at_ms=5)
        yield letters, stack.enter_context(replayer)


def replay(
    log: KafkaLog, *, value: bytes | None = None, force: bool = False, dry_run: bool = False
) -> list[ReplayOutcome]:
    """Replay everything."""
    with opened(log) as (letters, replayer):
        chosen = letters.scan(lambda _: True).letters
        return list(replayer.replay(chosen, value=value, force=force, dry_run=dry_run))


def sent(log: KafkaLog, topic: str = "posts") -> list[tuple[int, bytes | None, bytes | None]]:
    """What others read there: partition, key and value."""
    return [(m.partition(), m.key(), m.value()) for m in log.read(topic)]


def test_a_record_is_sent_again_as_it_was_to_the_partition_of_its_key(log: KafkaLog) -> None:
    for number in range(12):
        key = f"p{number}".encode()
        write_letter(log, key, GOOD_POST.replace(b"p1", key), offset=number)
    outcomes = replay(log)
    assert [outcome.refusal for outcome in outcomes] == [""] * 12
    expected = {
        (partition_of(key, 2), key, GOOD_POST.replace(b"p1", key))
        for key in (f"p{number}".encode() for number in range(12))
    }
    assert set(sent(log)) == expected
    assert len({partition for partition, _, _ in expected}) == 2
    positions = {(m.partition(), m.offset()) for m in log.read("posts")}
    assert {(outcome.partition, outcome.offset) for outcome in outcomes} == positions


def test_what_is_still_bad_is_not_sent_unless_it_is_edited(log: KafkaLog) -> None:
    write_letter(log, b"p1", BAD_POST)
    [refused] = replay(log)
    assert "still bad: Expected `str`, got `int` - at `$.author_id`" in refused.refusal
    [refused] = replay(log, value=GOOD_POST.replace(b"p1", b"p2"))
    assert "still bad" in refused.refusal
    assert sent(log) == []
    [outcome] = replay(log, value=GOOD_POST)
    assert outcome.refusal == ""
    assert [value for _, _, value in sent(log)] == [GOOD_POST]
    [again] = replay(log)
    assert again.already is not None
    assert again.already.edited


def test_what_is_cut_is_not_sent(log: KafkaLog) -> None:
    write_letter(log, b"p1", b" " * MAX_VALUE_BYTES + GOOD_POST, offset=1)
    write_letter(log, b"p" * (MAX_KEY_BYTES + 1), b"{}", offset=2)
    by_value, by_key = replay(log)
    assert "value is cut" in by_value.refusal
    assert "key is cut" in by_key.refusal
    assert sent(log) == []


def stand(log: KafkaLog, values: Sequence[bytes]) -> None:
    """Have records stand in `posts[0]`, each under the key of its post."""
    producer = log.producer()
    for value in values:
        key = value.split(b'"')[3]
        producer.produce(log.environment.topic("posts"), value, key, 0)
    assert producer.flush(20) == 0


def forget(log: KafkaLog, before: int) -> None:
    """Remove the first records of `posts[0]`, as Kafka does when they are too old."""
    admin = AdminClient({"bootstrap.servers": log.environment.kafka})
    place = TopicPartition(log.environment.topic("posts"), 0, before)
    for done in admin.delete_records([place]).values():
        done.result(20)


def test_the_records_of_a_range_letter_are_read_from_their_topic(log: KafkaLog) -> None:
    stand(log, [GOOD_POST.replace(b"p1", b"p%d" % n) for n in range(4)] + [BAD_POST])
    forget(log, 1)
    write_range_letter(log, [(0, 1), (3, 4)])
    outcomes = replay(log)
    assert [one.letter.rejected for one in outcomes] == [("posts", 0, n) for n in (0, 1, 3, 4)]
    gone, first, second, bad = (one.refusal for one in outcomes)
    assert (first, second) == ("", "")
    assert "still bad" in bad
    assert gone == "it is gone from `posts`"
    # Nothing else was sent: these stand behind the five.
    assert sorted((one.partition, one.offset) for one in outcomes[1:3]) == places_of(b"p1", b"p3")
    assert [one.already is not None for one in replay(log)] == [False, True, True, False]


def places_of(*keys: bytes) -> list[tuple[int, int]]:
    """Where records of these keys stand that are sent to `posts` with five records in 0."""
    ends = {0: 5, 1: 0}
    places = []
    for key in keys:
        partition = partition_of(key, 2)
        places.append((partition, ends[partition]))
        ends[partition] += 2  # a transaction of its own, and its marker
    return sorted(places)


def test_one_value_is_not_sent_for_many_records(log: KafkaLog) -> None:
    write_range_letter(log, [(0, 1)])
    [refused] = replay(log, value=GOOD_POST)
    assert refused.refusal == "it is of many records, and one value was given"


def test_what_only_looks_like_a_range_letter_is_refused(log: KafkaLog) -> None:
    producer = log.producer()
    fields = {"topic": "posts", "partition": "0", "offset": "0", "records": "7"}
    headers = [(name, text.encode()) for name, text in fields.items()]
    producer.produce(log.environment.topic("dead-letters"), b"{", None, 0, headers=headers)
    assert producer.flush(20) == 0
    with pytest.raises(UsageError, match="dead letter 0 is no range letter: "):
        replay(log)


def test_a_replay_that_began_earlier_sends_nothing_any_more(log: KafkaLog) -> None:
    for number in range(2):
        write_letter(log, b"p1", GOOD_POST, offset=number)
    with pytest.raises(UsageError, match="Kafka at"), opened(log) as (letters, former):
        chosen = letters.scan(lambda _: True).letters
        outcomes = former.replay(chosen)
        assert next(outcomes).refusal == ""
        [skipped, done] = replay(log)
        assert skipped.already is not None
        assert done.refusal == ""
        next(outcomes)
    assert len(sent(log)) == 2
