"""What another prefix has is copied to topics of other partitions, once, with its stamps."""

from collections import defaultdict
from collections.abc import Sequence

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.partition import partition_of
from feedmill.events.weights import Weights
from feedmill.operations.backups import COPIED, MovedRecords, copy_topics
from feedmill.operations.changes import Change, MadeBy, write_change
from feedmill.streams.kafka.topic_reader import TopicRecord, read_all
from feedmill.streams.settings.config_log import fold_log

pytestmark = pytest.mark.stack
ANN = MadeBy("ann", "ann", "host", "topics copy", "why")
KEYS = [f"p{n}".encode() for n in range(30)]

Values = dict[bytes, list[tuple[bytes | None, int, list[tuple[str, bytes]]]]]


@pytest.fixture
def old(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, f"{prefix}old.", 2)


@pytest.fixture
def new(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, f"{prefix}new.", 5)


def copied(old: KafkaLog, new: KafkaLog) -> dict[str, int]:
    return copy_topics(new.environment, old.environment.topic_prefix, ANN)


def by_key(messages: Sequence[Message]) -> Values:
    """By key what was written of it, in order, with stamps and headers."""
    found: Values = defaultdict(list)
    for message in messages:
        value = message.value(), message.timestamp()[1], message.headers() or []
        found[message.key()].append(value)
    return found


def test_records_keep_order_stamps_and_headers_and_go_to_the_partition_of_their_key(
    old: KafkaLog, new: KafkaLog
) -> None:
    for text in (b"first", b"second", None):
        old.produce("posts", [(key, text) for key in KEYS])
    producer = old.producer()
    producer.produce(old.environment.topic("overrides"), b"v", b"k", headers=[("by", b"ann")])
    assert producer.flush(20) == 0
    # What was aborted does not come.
    with old.transaction("upstream", abort=True) as produce:
        produce("posts", KEYS[0], b"aborted")

    counts = copied(old, new)
    assert counts == {**dict.fromkeys(COPIED, 0), "posts": 90, "overrides": 1}
    for topic in COPIED:
        assert by_key(new.read(topic)) == by_key(old.read(topic))
    posts = new.read("posts")
    assert all(partition_of(one.key(), 5) == one.partition() for one in posts)
    stamps: dict[int, list[int]] = defaultdict(list)
    for one in posts:
        stamps[one.partition()].append(one.timestamp()[1])
    assert all(times == sorted(times) for times in stamps.values())

    # What is written next has the broker's stamp, and is not copied over.
    new.produce("posts", [(b"live", b"x")])
    (live,) = [one for one in new.read("posts") if one.key() == b"live"]
    assert live.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
    old.produce("posts", [(KEYS[0], b"third")])
    assert copied(old, new) == {**dict.fromkeys(COPIED, 0), "posts": 1}
    assert [v for v, *_ in by_key(new.read("posts"))[KEYS[0]]] == [
        *(b"first", b"second", None, b"third")
    ]
    assert {one.key() for one in new.read("audit")} == {topic.encode() for topic in COPIED}


def test_a_copy_that_breaks_off_goes_on_where_it_was(
    old: KafkaLog, new: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.produce("posts", [(key, b"text") for key in KEYS])
    monkeypatch.setattr("feedmill.operations.backups._RECORDS", 10)
    writes = 0

    def break_off(self: MovedRecords, topic: str, record: TopicRecord) -> None:
        nonlocal writes
        writes += 1
        if writes > 15:
            raise KeyboardInterrupt
        original(self, topic, record)

    original = MovedRecords.write
    monkeypatch.setattr(MovedRecords, "write", break_off)
    with pytest.raises(KeyboardInterrupt):
        copied(old, new)
    assert len(new.read("posts")) == 10
    monkeypatch.setattr(MovedRecords, "write", original)
    assert copied(old, new)["posts"] == 20
    assert by_key(new.read("posts")) == by_key(old.read("posts"))


def test_a_wrong_prefix_copies_nothing(old: KafkaLog) -> None:
    with pytest.raises(UsageError, match="expected another prefix"):
        copied(old, old)
    with pytest.raises(UsageError, match=r"has no topic `nowhere\.config`"):
        copy_topics(old.environment, "nowhere.", ANN)
    assert old.read("audit") == []


def test_a_setting_that_names_the_offset_of_another_one_counts_after_a_copy(
    old: KafkaLog, new: KafkaLog
) -> None:
    def set_weights(quality: float, if_offset: int) -> int:
        value = {"value": {"quality": quality, "engagement": 0.5}, "if_offset": if_offset}
        change = Change("config", "weights", encode(value), None)
        return write_change(old.environment, ANN, change).offset

    def weights_of(log: KafkaLog) -> Weights:
        records = read_all(log.environment, "config")
        return fold_log(records, log.environment.signals).settings.weights_of("global")

    last = set_weights(0.2, set_weights(0.1, -1))
    copied(old, new)
    assert weights_of(new) == weights_of(old)
    last = set_weights(0.3, last)
    set_weights(0.4, last)
    copied(old, new)
    assert weights_of(new) == weights_of(old)
    assert weights_of(new).objectives["quality"] == 0.4
