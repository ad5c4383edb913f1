"""What operators see of `dead-letters`, on a real Kafka."""

import pytest

from builders.bombs import bomb, send_batch
from builders.kafka_log import KafkaLog
from builders.written_letters import BAD_POST, write_letter
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.streams.kafka.dead_letter_log import open_dead_letters
from feedmill.streams.kafka.dead_letters import MAX_VALUE_BYTES
from feedmill.streams.settings.environment import Environment

# What no client inflates: 40 records.
LARGE = bomb("zstd", 20_000_000)


def test_a_letter_says_why_and_where_and_keeps_the_bytes(stack: StackAddress, prefix: str) -> None:
    log = KafkaLog.created(stack.kafka, prefix)
    write_letter(log, b"p1", BAD_POST, offset=41)
    write_letter(log, b"\xff", None, topic="engagements", reason="Expected a key in UTF-8")
    with open_dead_letters(log.environment) as letters:
        first, second = letters.scan(lambda _: True).letters
        assert first.rejected == ("posts", 0, 41)
        assert (first.stage, first.error) == (
            "worker",
            "Expected `str`, got `int` - at `$.author_id`",
        )
        assert letters.record(first) == (b"p1", BAD_POST)
        assert second.rejected.topic == "engagements"
        assert letters.record(second) == (b"\xff", None)
        assert letters.record(first) == (b"p1", BAD_POST)


def test_what_is_not_wanted_is_not_kept(stack: StackAddress, prefix: str) -> None:
    log = KafkaLog.created(stack.kafka, prefix)
    for offset in range(5):
        write_letter(log, b"p1", b"{", offset=offset)
    with open_dead_letters(log.environment) as letters:
        found = letters.scan(lambda letter: letter.rejected.offset > 2).letters
    assert [letter.rejected.offset for letter in found] == [3, 4]


def test_a_cut_value_is_said_to_be_cut(stack: StackAddress, prefix: str) -> None:
    log = KafkaLog.created(stack.kafka, prefix)
    write_letter(log, b"p1", b"x" * (MAX_VALUE_BYTES + 1))
    with open_dead_letters(log.environment) as letters:
        [letter] = letters.scan(lambda _: True).letters
    assert (letter.key_is_cut, letter.value_is_cut) == (False, True)


def test_records_that_are_no_letters_and_aborted_ones_are_skipped(
    stack: StackAddress, prefix: str
) -> None:
    log = KafkaLog.created(stack.kafka, prefix)
    log.produce("dead-letters", [(b"k", b"v")])
    write_letter(log, b"p1", b"{")
    send_batch(log.environment.kafka, log.environment.topic("dead-letters"), 0, LARGE)
    write_letter(log, b"p2", b"{")
    with log.transaction("upstream", abort=True) as produce:
        produce("dead-letters", b"k", b"aborted")
    with open_dead_letters(log.environment) as letters:
        assert [letter.id for letter in letters.scan(lambda _: True).letters] == [1, 42]


def test_a_missing_topic_is_named(stack: StackAddress, prefix: str) -> None:
    environment = Environment(kafka=stack.kafka, topic_prefix=prefix)
    with (
        pytest.raises(UsageError, match=f"has no topic `{prefix}dead-letters`"),
        open_dead_letters(environment),
    ):
        pass
