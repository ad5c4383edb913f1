"""Sends rejected records again, each once: record and note of it are one Kafka transaction.

Replays share one transactional id, so that one which begins fences off another that still runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from feedmill.events.decode import decoder_of
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.partition import partition_of
from feedmill.streams.kafka.client import ClientHealth, new_producer
from feedmill.streams.kafka.dead_letter_log import (
    CONNECT_S,
    DeadLetterLog,
    LetterHead,
    RejectedAt,
    Replay,
    SharedRecord,
    kafka_errors,
)
from feedmill.streams.kafka.dead_letters import TOPIC
from feedmill.streams.settings.environment import Environment

_TRANSACTION_S = 30.0


@dataclass(frozen=True)
class ReplayOutcome:
    """What became of one letter.

    Attributes
    ----------
    refusal
        Why it was not sent; "" if it was, or would have been.
    partition, offset
        Where the record stands now in its topic; -1 where it was not sent.
    already
        The replay of before, where that is the reason.
    is_repetition
        Whether another letter of the same record was sent just before.
    """

    letter: LetterHead
    refusal: str = ""
    partition: int = -1
    offset: int = -1
    already: Replay | None = None
    is_repetition: bool = False


class DeadLetterReplayer:
    """Checks letters and sends them; made by `open_replayer`.

    Parameters
    ----------
    by
        Who asks for it, for the notes.
    at_ms
        The time for the notes.
    """

    def __init__(
        self, environment: Environment, log: DeadLetterLog, producer: Producer, by: str, at_ms: int
    ) -> None:
        self._environment = environment
        self._log = log
        self._producer = producer
        self._by = by
        self._at_ms = at_ms
        self._partitions: dict[str, int] = {}
        self._done: set[RejectedAt] = set()

    def replay(
        self,
        letters: Iterable[LetterHead],
        *,
        value: bytes | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Iterator[ReplayOutcome]:
        """Send the records of these letters again, and yield what became of each.

        To be called once.  It fences off a replay of another process that still runs.

        Parameters
        ----------
        letters
            Which; several letters of one record are sent once.  Of a range letter each record that
            it stands for is sent, and has an outcome.
        value
            What to send instead of the record's own value.
        force
            Send also what was sent again before.
        dry_run
            Check everything and send nothing.
        """
        if not dry_run:
            # From here on no other replay can write, so what is read next is complete.
            self._producer.init_transactions(_TRANSACTION_S)
        replays = self._log.scan(lambda _: False).replays
        for letter in letters:
            if letter.records and value is not None:
                yield ReplayOutcome(letter, "it is of many records, and one value was given")
                continue
            for one in self._log.shared(letter) if letter.records else self._alone(letter):
                already = replays.get(one.letter.rejected)
                if one.letter.rejected in self._done:
                    refusal = "another letter of the same record was chosen too"
                    yield ReplayOutcome(one.letter, refusal, is_repetition=True)
                elif already is not None and not force:
                    yield ReplayOutcome(one.letter, "sent again before", already=already)
                else:
                    yield self._replay(one, value, dry_run=dry_run)

    def _alone(self, letter: LetterHead) -> Iterator[SharedRecord]:
        """The record of an ordinary letter."""
        yield SharedRecord(letter, *self._log.record(letter))

    def _replay(self, one: SharedRecord, edited: bytes | None, *, dry_run: bool) -> ReplayOutcome:
        letter, key, value = one.letter, one.key, one.value
        if edited is not None:
            value = edited
        is_edited = edited is not None
        refusal = one.missing or self._refusal(letter, key, value, is_edited=is_edited)
        if refusal:
            return ReplayOutcome(letter, refusal)
        self._done.add(letter.rejected)
        topic = letter.rejected.topic
        partition = partition_of(key or b"", self._partition_count(topic))
        if dry_run:
            return ReplayOutcome(letter, partition=partition)
        self._producer.begin_transaction()
        offset = self._send(topic, partition, key, value)
        note = self._note(letter, partition, offset, is_edited=is_edited)
        self._producer.produce(self._environment.topic(TOPIC), None, key, 0, headers=note)
        self._producer.commit_transaction(_TRANSACTION_S)
        return ReplayOutcome(letter, partition=partition, offset=offset)

    def _send(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Write the record within the transaction; return its offset."""
        offsets: list[int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets.append(message.offset())

        name = self._environment.topic(topic)
        self._producer.produce(name, value, key, partition, on_delivery=delivered)
        self._producer.flush(_TRANSACTION_S)
        if not offsets:
            self._producer.abort_transaction(_TRANSACTION_S)
            raise UsageError(f"Kafka did not take the record for `{name}`; nothing was sent")
        return offsets[0]

    def _refusal(
        self, letter: LetterHead, key: bytes | None, value: bytes | None, *, is_edited: bool
    ) -> str:
        """Say why a record cannot be sent; "" if it can."""
        if letter.key_is_cut:
            return "its key is cut, so it is no id"
        if letter.value_is_cut and not is_edited:
            return "its value is cut; give a whole one with --value"
        decode = decoder_of(letter.rejected.topic, self._environment.signals)
        if decode is None:
            return f"nothing reads `{letter.rejected.topic}` here"
        try:
            decode(key, value)
        except BadEvent as error:
            return f"it is still bad: {error}"
        return ""

    def _note(
        self, letter: LetterHead, partition: int, offset: int, *, is_edited: bool
    ) -> list[tuple[str, str | bytes | None]]:
        rejected = letter.rejected
        fields: dict[str, object] = {
            **rejected._asdict(),
            "stage": "replay",
            "at_ms": self._at_ms,
            "by": self._by,
            "replayed_partition": partition,
            "replayed_offset": offset,
            "edited": "true" if is_edited else "false",
        }
        return [(name, str(field).encode()) for name, field in fields.items()]

    def _partition_count(self, topic: str) -> int:
        if topic not in self._partitions:
            name = self._environment.topic(topic)
            found = self._producer.list_topics(name, timeout=CONNECT_S).topics[name]
            if found.error is not None:
                raise UsageError(f"Kafka at {self._environment.kafka} has no topic `{name}`")
            self._partitions[topic] = len(found.partitions)
        return self._partitions[topic]


@contextmanager
def open_replayer(
    environment: Environment, log: DeadLetterLog, *, by: str, at_ms: int
) -> Iterator[DeadLetterReplayer]:
    """Open a replayer.

    Raises
    ------
    UsageError
        Kafka cannot be reached, or a replay of another process has begun meanwhile.
    """
    health = ClientHealth()
    producer = new_producer(environment, health, transactional_id="dead-letters-replay")
    with kafka_errors(environment):
        yield DeadLetterReplayer(environment, log, producer, by, at_ms)
