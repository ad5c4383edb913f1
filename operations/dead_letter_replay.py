"""Sends rejected records again, each once: record, note and audit are one Kafka transaction.

Replays share one transactional id, so that one which begins fences off another that still runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from feedmill.events.decode import decoder_of
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.operations.changes import Audited, AuditedChanges, MadeBy
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import kafka_errors
from feedmill.streams.kafka.dead_letters import (
    TOPIC,
    DeadLetterLog,
    LetterHead,
    RejectedAt,
    Replay,
    SharedRecord,
)


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
        self,
        environment: Environment,
        log: DeadLetterLog,
        changes: AuditedChanges,
        by: str,
        at_ms: int,
    ) -> None:
        self._environment = environment
        self._log = log
        self._changes = changes
        self._by = by
        self._at_ms = at_ms
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
            self._changes.begin()
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

    def _replay(
        self, record: SharedRecord, edited: bytes | None, *, dry_run: bool
    ) -> ReplayOutcome:
        letter, key, value = record.letter, record.key, record.value
        if edited is not None:
            value = edited
        is_edited = edited is not None
        refusal = record.missing or self._refusal(letter, key, value, is_edited=is_edited)
        if refusal:
            return ReplayOutcome(letter, refusal)
        self._done.add(letter.rejected)
        topic = letter.rejected.topic
        partition = partition_of(key or b"", self._changes.partitions_of(topic))
        if dry_run:
            return ReplayOutcome(letter, partition=partition)
        with self._changes.transaction():
            offset = self._changes.send(topic, key, value, partition).offset
            note = self._note(letter, partition, offset, is_edited=is_edited)
            self._changes.send(TOPIC, key, None, headers=note)
            self._changes.audit(self._audited(letter, key, partition, offset, is_edited=is_edited))
        return ReplayOutcome(letter, partition=partition, offset=offset)

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
    ) -> dict[str, str]:
        fields: dict[str, object] = {
            **letter.rejected._asdict(),
            "stage": "replay",
            "at_ms": self._at_ms,
            "by": self._by,
            "replayed_partition": partition,
            "replayed_offset": offset,
            "edited": "true" if is_edited else "false",
        }
        return {name: str(field) for name, field in fields.items()}

    def _audited(
        self, letter: LetterHead, key: bytes | None, partition: int, offset: int, *, is_edited: bool
    ) -> Audited:
        """Say where the record was rejected and where it stands: not what it says."""
        rejected = letter.rejected
        return Audited(
            topic=rejected.topic,
            key=None if key is None else key.decode("utf-8", "replace"),
            partition=partition,
            offset=offset,
            before={
                "dead_letter": letter.id,
                "partition": rejected.partition,
                "offset": rejected.offset,
            },
            after={"partition": partition, "offset": offset, "edited": is_edited},
        )


@contextmanager
def open_replayer(
    environment: Environment, log: DeadLetterLog, made_by: MadeBy, *, at_ms: int
) -> Iterator[DeadLetterReplayer]:
    """Open a replayer.

    Raises `UsageError`: Kafka cannot be reached, or a replay of another process has begun
    meanwhile.
    """
    changes = AuditedChanges(environment, made_by, "dead-letters-replay")
    with kafka_errors(environment):
        yield DeadLetterReplayer(environment, log, changes, made_by.by, at_ms)
        changes.wait_until_visible()
