"""What operators see of `dead-letters`, on a real Kafka."""

from builders.bombs import bomb, send_batch
from builders.kafka_log import KafkaLog
from builders.written_letters import write_letter
from feedmill.deploy.local import StackAddress
from feedmill.streams.kafka.dead_letters import open_dead_letters

# What no client inflates: 40 records.
LARGE = bomb("zstd", 20_000_000)


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
