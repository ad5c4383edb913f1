"""What people change: the change and its record of `audit` are one Kafka transaction.

Kafka shows both to readers of what is committed, or neither, wherever the command is killed.  Until
such a transaction is aborted, readers of the topic wait behind it: `TRANSACTION_TIMEOUT_MS`, and
until the broker looks for those that are over, every ten seconds unless it was told otherwise.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from feedmill.events.audit import TOPIC, AuditRecord, decode_audit
from feedmill.events.decode import encode
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.instance import Instance
from feedmill.events.partition import partition_of
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import (
    ClientHealth,
    kafka_errors,
    new_log_consumer,
    new_producer,
)
from feedmill.streams.kafka.topic_reader import (
    SentRecord,
    TopicReader,
    TopicRecord,
    open_topic,
    read_all,
)
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.instances import (
    SettingAnswer,
    read_recent_instances,
    setting_answers,
)

# Where Kafka keeps the offsets of groups.
OFFSETS = "__consumer_offsets"
# What the audit says of a topic that is created or deleted.
TOPIC_EXISTS = {"exists": True}
_CONNECT_S = 5.0
_ANSWER_S = 30.0
_VISIBLE_S = 2.0


class MadeBy(NamedTuple):
    """Who makes a change, by what name and as which user of which host, how, and why."""

    by: str
    user: str
    host: str
    command: str
    note: str


def user_name() -> str:
    """The name of the user who runs this process; "unknown" if the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def made_by(by: str | None, command: str, note: str | None = None) -> MadeBy:
    """Return who makes a change: named so, else as the user is; where, how, and why."""
    user = user_name()
    return MadeBy(by or user, user, socket.gethostname(), command, note or "")


class Change(NamedTuple):
    """A record that a command writes, and what it is about.

    Attributes
    ----------
    before
        The value that was in force; None for none.
    headers
        Texts beside the record; empty ones are left out.
    is_keyed
        Whether it goes to the partition of its key, not to partition 0.
    """

    topic: str
    key: str
    value: bytes | None
    before: bytes | None
    headers: Mapping[str, str] = {}
    is_keyed: bool = False


class Audited(NamedTuple):
    """What the audit is to say of a change, beside who made it: see `AuditRecord`."""

    topic: str
    key: str | None = None
    partition: int | None = None
    offset: int | None = None
    before: Any = None
    after: Any = None


class AuditedChanges:
    """The transactions of a command.

    Each run of a command has a transactional id of its own, unless `transactional_id` is given:
    then a run fences off earlier runs.
    """

    def __init__(
        self, environment: Environment, made_by: MadeBy, transactional_id: str = ""
    ) -> None:
        self._environment = environment
        self._made_by = made_by
        name = transactional_id or f"change-{uuid4().hex}"
        self._producer = new_producer(environment, ClientHealth(), transactional_id=name)
        self._partitions: dict[str, int] = {}
        # The last record of each partition that this run has written.
        self._written: dict[tuple[str, int], int] = {}

    def begin(self) -> None:
        """Get ready; an earlier run with this transactional id writes nothing from now on.

        Raises `UsageError`: there is no topic for the audit; `KafkaException`: Kafka cannot be
        reached, or refuses.
        """
        self.partitions_of(TOPIC)
        self._producer.init_transactions(_ANSWER_S)

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has; `UsageError` where there is none."""
        if not self._partitions:
            # Of all topics: to ask for one that is missing may create it.
            found = self._producer.list_topics(timeout=_CONNECT_S).topics
            self._partitions = {name: len(topic.partitions) for name, topic in found.items()}
        name = self._environment.topic(topic)
        if name not in self._partitions:
            raise UsageError(
                f"Kafka at {self._environment.kafka} has no topic `{name}`, so nothing was"
                " written; create the topics with `feedmill topics create`, or give the right"
                " --kafka and --prefix"
            )
        return self._partitions[name]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written within; whatever goes wrong there aborts it."""
        self._producer.begin_transaction()
        try:
            yield
            self._commit()
        except BaseException:
            # A transaction that Kafka has ended already cannot be aborted.
            with suppress(KafkaException):
                self._producer.abort_transaction(_ANSWER_S)
            raise

    def _commit(self) -> None:
        try:
            self._producer.commit_transaction(_ANSWER_S)
        except KafkaException as error:
            complaint: KafkaError = error.args[0]
            if complaint.fatal() or complaint.txn_requires_abort():
                raise
            raise UsageError(
                f"Kafka at {self._environment.kafka} did not say whether the change was made:"
                f" {complaint.str()}; `feedmill audit` shows it once Kafka answers"
            ) from error

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        headers: Mapping[str, str] = {},
    ) -> SentRecord:
        """Write a record within the transaction; return where it stands.

        Raises `UsageError`: there is no such topic, or Kafka does not take the record.
        """
        self.partitions_of(topic)
        stored: list[SentRecord] = []
        refused: list[str] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                stored.append(SentRecord(message.offset(), message.timestamp()[1]))
            else:
                refused.append(error.str())

        name = self._environment.topic(topic)
        texts = [(header, text.encode()) for header, text in headers.items() if text]
        try:
            self._producer.produce(name, value, key, partition, delivered, headers=texts)
            self._producer.flush(_ANSWER_S)
        except KafkaException as error:
            refused.append(error.args[0].str())
        if not stored:
            # Where Kafka has ended the transaction itself, this raises the cause.
            self._producer.abort_transaction(_ANSWER_S)
            reason = refused[0] if refused else f"no answer within {_ANSWER_S:g} s"
            raise UsageError(
                f"Kafka did not take the record for `{name}`, so nothing was written: {reason};"
                " may this user write that topic?"
            )
        self._written[name, partition] = stored[0].offset
        return stored[0]

    def wait_until_visible(self) -> None:
        """Wait until readers see what was committed; not for long, where others hold them back.

        Kafka answers before it writes the markers, and the next command must see this change.  The
        change is made whatever Kafka does now, so nothing is raised.
        """
        consumer = new_log_consumer(self._environment, ClientHealth())
        deadline = time.monotonic() + _VISIBLE_S
        try:
            for at, offset in self._written.items():
                while (
                    consumer.get_watermark_offsets(KafkaPartition(*at), _ANSWER_S)[1] <= offset
                    and time.monotonic() < deadline
                ):
                    time.sleep(0.005)
        except KafkaException:
            pass
        finally:
            consumer.close()

    def audit(self, *changes: Audited) -> None:
        """Say within the transaction what it changes."""
        at_ms = now_ms()
        for change in changes:
            said = {**self._made_by._asdict(), **change._asdict()}
            self.send(TOPIC, change.topic.encode(), encode(AuditRecord(at_ms=at_ms, **said)))

    def announce(self, *changes: Audited) -> None:
        """Write what is done next outside of all transactions, and may fail after this."""
        if changes:
            with self.transaction():
                self.audit(*changes)

    def move_group(self, group: str, offsets: Sequence[KafkaPartition]) -> None:
        """Set the offsets of a group without members within the transaction."""
        consumer = new_log_consumer(self._environment, ClientHealth(), group=group)
        try:
            self._producer.send_offsets_to_transaction(
                list(offsets), consumer.consumer_group_metadata(), _ANSWER_S
            )
        finally:
            consumer.close()


@contextmanager
def open_changes(environment: Environment, made_by: MadeBy) -> Iterator[AuditedChanges]:
    """Open what writes changes.

    Raises `UsageError`: Kafka cannot be reached, has no topic for the audit, or refuses.
    """
    with kafka_errors(environment):
        changes = AuditedChanges(environment, made_by)
        changes.begin()
        yield changes
        changes.wait_until_visible()


def write_change(environment: Environment, made_by: MadeBy, change: Change) -> SentRecord:
    """Write a record and what the audit says of it, and return where the record stands.

    Raises what `open_changes` raises.
    """
    return write_changes(environment, made_by, [change])[0]


def write_changes(
    environment: Environment, made_by: MadeBy, wanted: Sequence[Change]
) -> list[SentRecord]:
    """Write records, all or none, and what the audit says of each; return where they stand.

    Raises what `open_changes` raises.
    """
    written = []
    with open_changes(environment, made_by) as changes, changes.transaction():
        for one in wanted:
            key, partition = one.key.encode(), 0
            if one.is_keyed:
                partition = partition_of(key, changes.partitions_of(one.topic))
            sent = changes.send(one.topic, key, one.value, partition, one.headers)
            changes.audit(
                Audited(
                    topic=one.topic,
                    key=one.key,
                    partition=partition,
                    offset=sent.offset,
                    before=_part(one.before),
                    after=_part(one.value),
                )
            )
            written.append(sent)
    return written


def _part(value: bytes | None) -> msgspec.Raw | str | None:
    """Return a record's value to be a part of another's: as text where somebody wrote no JSON."""
    if not value:
        return None
    try:
        msgspec.json.decode(value)
    except DECODE_ERRORS:
        return value.decode("utf-8", "replace")
    return msgspec.Raw(value)


def last_value(environment: Environment, topic: str, key: str) -> bytes | None:
    """Return the value of the last record of a key; None if that is empty, or there is none."""
    last = None
    for record in read_all(environment, topic):
        if record.key == key.encode():
            last = record.value
    return last


# What each instance does with the record at an offset, as `setting_answers` yields it.
AnswersOf = Callable[[TopicReader, Mapping[str, Instance], int, float], Iterator[SettingAnswer]]


class Written(NamedTuple):
    """Where records stand that were written, and what the instances did with the last one."""

    places: Sequence[SentRecord]
    answers: Sequence[SettingAnswer]

    @property
    def offset(self) -> int:
        """Where the last record stands."""
        return self.places[-1].offset


@dataclass(frozen=True)
class AwaitedChange:
    """Who changes what runs and why, and who hears of it step by step.

    Attributes
    ----------
    timeout_s
        How long to wait for the answers of the instances; 0: not at all.
    on_written
        Called once the records are written, with their places and how many instances will answer;
        None: nobody is waited for.
    on_answer
        Called with each answer.
    """

    environment: Environment
    made_by: MadeBy
    timeout_s: float
    on_written: Callable[[Sequence[SentRecord], int | None], None] = lambda _, __: None
    on_answer: Callable[[SettingAnswer], None] = lambda _: None

    def write(self, records: Sequence[Change], answers_of: AnswersOf = setting_answers) -> Written:
        """Write records, all or none, and wait for what the instances do with the last one.

        Raises what `open_changes` and `open_topic` raise.
        """
        # Opened before the records are sent, since that may fail.
        waits = open_topic(self.environment, "instances") if self.timeout_s else nullcontext(None)
        with waits as reader:
            places = write_changes(self.environment, self.made_by, records)
            if reader is None:
                self.on_written(places, None)
                return Written(places, [])
            offset, at_ms = places[-1]
            instances = read_recent_instances(reader, at_ms)
            self.on_written(places, len(instances))
            answers = []
            for answer in answers_of(reader, instances, offset, self.timeout_s):
                self.on_answer(answer)
                answers.append(answer)
        return Written(places, answers)


# Of records: what other columns have, and what only machines read.
_NOT_SHOWN = ("by", "note", "reason", "at_ms", "if_offset", "answers", "source", "post_id")


class AuditRow(NamedTuple):
    """A change, and where and when Kafka stored what the audit says of it."""

    audit_offset: int
    stored_ms: int
    said: AuditRecord

    @property
    def before(self) -> Any:
        """What is shown of the value that was in force; None for none."""
        return _changed(self.said.before, self.said.after)

    @property
    def after(self) -> Any:
        """What is shown of the value that was written; None where it was removed."""
        return _changed(self.said.after, self.said.before)


def audit_row(record: TopicRecord) -> AuditRow | None:
    """Return the change that a record of `audit` is about; None if it breaks the contract."""
    try:
        return AuditRow(record.offset, record.at_ms, decode_audit(record.value))
    except BadEvent:
        return None


def matching(
    rows: Iterable[AuditRow],
    *,
    topic: str | None = None,
    key: str | None = None,
    by: str | None = None,
) -> list[AuditRow]:
    """Return the changes of a topic, of a key, by somebody; None: of all."""
    return [
        row
        for row in rows
        if topic in (None, row.said.topic)
        and key in (None, row.said.key)
        and by in (None, row.said.by)
    ]


def _changed(value: Any, other: Any) -> Any:
    """Return what is shown of a value: of a long setting only what the other has not."""
    value, other = _shown(value), _shown(other)
    if isinstance(value, dict) and isinstance(other, dict) and value != other:
        return {k: v for k, v in value.items() if k not in other or other[k] != v}
    return value


def _shown(value: Any) -> Any:
    """Return what a record says, without who wrote it and why; of a label also its target."""
    if isinstance(value, dict) and "value" in value and "target" not in value:
        value = value["value"]
    if not isinstance(value, dict):
        return value
    return {name: field for name, field in value.items() if name not in _NOT_SHOWN}
