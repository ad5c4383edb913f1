"""Asks for offsets of topics and groups on threads of its own: the loop never waits for them.

Consumers ask, not the admin client: after an outage of the broker the admin client keeps a stale
leader for ever, or ends the process (docs/decisions/loop.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from json import JSONDecoder
from typing import Any, NamedTuple, TypeVar

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, MemberDescription

from feedmill.events.errors import UsageError
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import (
    REFUSALS,
    ClientHealth,
    WatchedConsumer,
    client_settings,
    new_log_consumer,
    refusal,
    why_no_connection,
)
from feedmill.streams.kafka.read_progress import WAY_OUT, HeldBack

log = logging.getLogger(__name__)

T = TypeVar("T")

_json = JSONDecoder()
# The broker takes 4,096 bytes beside an offset.
MAX_MARK_BYTES = 3_900

_TIMEOUT_S = 5.0
# librdkafka can abort the process where an answer comes after this (its issue 4605), so it is long.
_OPERATIONS_S = 20.0
_TOPIC_WAIT_S = 30.0
# The pause after an error, since the caller asks again at once.
_AFTER_ERROR_S = 0.2


class Bounds(NamedTuple):
    """The first offset of a partition, and its high watermark.

    Open transactions do not hold the high watermark back: a reader that came to it has seen all
    that could have been committed at the time of the question.
    """

    first: int
    end: int


class Members(NamedTuple):
    """Whether a group lists other instances, and whether it lists this one, which is static."""

    has_others: bool = False
    has_me: bool = False


class Committed(NamedTuple):
    """What a group committed of a partition: the offset, and the text beside it."""

    offset: int
    text: str


class CommitMark(msgspec.Struct, frozen=True):
    """What a transaction writes beside an offset: who committed, its count of commits, notes.

    `topics` has the ids of topics by their names, see `TopicIds`.
    """

    by: str = ""
    number: int = 0
    notes: dict[str, str] = {}
    topics: dict[str, str] = {}


_decode = msgspec.json.Decoder(CommitMark).decode


def encode_mark(mark: CommitMark) -> str:
    """Return the text that stands beside an offset."""
    return msgspec.json.encode(mark).decode()


def decode_mark(text: str) -> CommitMark:
    """Read the text beside an offset; return an empty mark if the text is none of ours."""
    try:
        return _decode(text)
    except DECODE_ERRORS:
        return CommitMark()


class PartitionOffsets(NamedTuple):
    """The log of a partition, from `first` to `end`; the offset to start at; the last mark."""

    first: int
    end: int
    start: int
    mark: CommitMark


class Offsets:
    """Answers with futures, which raise `KafkaException` if the broker is away or refuses."""

    def __init__(self, environment: Environment, health: ClientHealth) -> None:
        self._environment = environment
        self._health = health
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="offsets")
        self._topics = new_log_consumer(environment, health, committed=False)
        self._groups: dict[tuple[str, bool], WatchedConsumer] = {}
        self._unstable = HeldBack[str]()
        self._admin: AdminClient | None = None

    def bounds(self, sources: Sequence[TopicPartition]) -> Future[dict[TopicPartition, Bounds]]:
        """Ask where partitions begin and end."""
        return self._ask(lambda: {at: self._bounds(at, self._topics) for at in sources})

    def readable_ends(self, sources: Sequence[TopicPartition]) -> Future[dict[TopicPartition, int]]:
        """Ask up to where partitions can be read: their first open transaction, or their end."""
        stable = partial(self._client, "unused", stable=True)
        return self._ask(lambda: {at: self._bounds(at, stable()).end for at in sources})

    def since(self, times: Mapping[TopicPartition, int]) -> Future[dict[TopicPartition, int]]:
        """Ask for the first record stamped at a time (Unix ms) or later; -1: there is none."""
        wanted = [self._at(source, at_ms) for source, at_ms in times.items()]
        return self._ask(
            lambda: {
                self._source(place): int(place.offset)
                for place in self._checked(self._topics.offsets_for_times(wanted, _TIMEOUT_S))
            }
        )

    def committed(
        self, group: str, sources: Sequence[TopicPartition]
    ) -> Future[dict[TopicPartition, Committed]]:
        """Ask what a group committed; partitions without an offset are left out.

        While a transaction that moves one of them is open, the future raises after five seconds.
        A killed broker may leave a transaction that never ends: after twenty seconds the answer is
        what was committed before it.
        """
        return self._ask(lambda: self._committed(group, sources))

    def standing(
        self, group: str, sources: Sequence[TopicPartition], unread: Sequence[TopicPartition] = ()
    ) -> Future[dict[TopicPartition, PartitionOffsets]]:
        """Ask what a group committed, as `committed`, and where the partitions begin and end.

        The bounds of `unread` partitions are not asked for: their offsets only carry marks.
        """
        return self._ask(lambda: self._standing(group, sources, unread))

    def topic_ids(self, topics: Sequence[str]) -> Future[dict[str, str]]:
        """Ask for the id of each topic; those that do not exist are left out.

        An admin client asks, a new one after every error.
        """
        return self._ask(lambda: self._topic_ids(topics))

    def operations(
        self, topics: Sequence[str], group: str
    ) -> Future[tuple[dict[str, set[str]], set[str] | None]]:
        """Ask which operations this user has on topics and a group; None: Kafka does not tell.

        Topics that do not exist are left out; the group is named in full.  Operations are named as
        in `KafkaRight`.
        """
        return self._ask(lambda: self._operations(topics, group))

    def members(self, group: str) -> Future[Members]:
        """Ask who is a member of a group."""
        return self._ask(lambda: self._listed(self._environment.group(group)))

    def topics_read(self, is_wanted: Callable[[str], bool]) -> Future[dict[str, set[str]]]:
        """Ask for the topics of members' partitions, by the full names of groups with members."""
        return self._ask(lambda: self._topics_read(is_wanted))

    def partition_count(self, topic: str, stopping: threading.Event, *, needs: str = "Read") -> int:
        """Wait for a topic and return how many partitions it has; 0 when stopped.

        `needs` is the right that a user lacks to whom Kafka does not tell.

        Raises `UsageError`: Kafka answers, but has had no such topic for half a minute.
        """
        name = self._environment.topic(topic)
        missing_since: float | None = None
        while not stopping.is_set():
            try:
                found = self._topics.list_topics(topic=name, timeout=2).topics[name]
            except KafkaException:
                # Its own text is that of a timeout, whatever the server said.
                self._health.report(why_no_connection(self._environment))
            else:
                if found.error is None and found.partitions:
                    return len(found.partitions)
                if found.error is not None and found.error.code() in REFUSALS:
                    self._health.report(refusal(self._environment, needs, f"topic `{name}`"))
                    missing_since = None
                    stopping.wait(_AFTER_ERROR_S)
                    continue
                now = time.monotonic()
                missing_since = now if missing_since is None else missing_since
                if now - missing_since > _TOPIC_WAIT_S:
                    raise UsageError(
                        f"there is no topic `{name}` at {self._environment.kafka}; create it with"
                        " `feedmill topics create`, or mind FEEDMILL_TOPIC_PREFIX"
                    )
            stopping.wait(_AFTER_ERROR_S)
        return 0

    def close(self) -> None:
        """Let go of the threads; open questions get no answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, question: Callable[[], T]) -> Future[T]:
        def answer() -> T:
            try:
                return question()
            except KafkaException:
                time.sleep(_AFTER_ERROR_S)
                raise
            finally:
                # A client that is not polled keeps its reports for ever.
                for consumer in (self._topics, *self._groups.values()):
                    consumer.poll(0)
                self._replace_lost()

        return self._threads.submit(answer)

    def _replace_lost(self) -> None:
        """Replace consumers that find no broker any more; a running call keeps the old one."""
        if self._topics.brokers.are_lost:
            self._topics = new_log_consumer(self._environment, self._health, committed=False)
        # A copy, since the other thread may add a consumer; none is removed, since it may use any.
        for (group, stable), consumer in [*self._groups.items()]:
            if consumer.brokers.are_lost:
                self._groups[group, stable] = self._new_group(group, stable=stable)

    def _new_group(self, group: str, *, stable: bool) -> WatchedConsumer:
        return new_log_consumer(self._environment, self._health, group=group, committed=stable)

    def _listed(self, name: str) -> Members:
        mine = self._environment.instance
        are_mine = [member.group_instance_id == mine for member in self._members([name])[name]]
        return Members(has_others=not all(are_mine), has_me=any(are_mine))

    def _topics_read(self, is_wanted: Callable[[str], bool]) -> dict[str, set[str]]:
        admin = self._own_admin()
        listed = admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result().valid
        names = [group.group_id for group in listed if is_wanted(group.group_id)]
        found = {}
        for name, members in self._members(names).items() if names else ():
            assigned = [at.topic for member in members for at in member.assignment.topic_partitions]
            if members:
                found[name] = {*map(self._environment.named, assigned)}
        return found

    def _members(self, names: Sequence[str]) -> dict[str, Sequence[MemberDescription]]:
        admin = self._own_admin()
        asked = admin.describe_consumer_groups(names, request_timeout=_TIMEOUT_S)
        try:
            return {name: answer.result().members for name, answer in asked.items()}
        except KafkaException:
            self._admin = None
            raise

    def _own_admin(self) -> AdminClient:
        """Return the client, which the caller holds until it has the answer.

        The other thread may let go of the client after an error, and a client that nobody holds
        may never answer.
        """
        if self._admin is None:
            settings = client_settings(self._environment, self._health)
            # It is polled too seldom to report errors in time; its callers report them.
            del settings["error_cb"]
            self._admin = AdminClient(settings)
        return self._admin

    def _topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        names = TopicCollection([self._environment.topic(topic) for topic in topics])
        admin = self._own_admin()
        asked = admin.describe_topics(names, request_timeout=_TIMEOUT_S)
        found = {}
        for name, answer in asked.items():
            try:
                found[self._environment.named(name)] = str(answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    # The client would wait for minutes for the former controller.
                    self._admin = None
                    raise
        return found

    def _operations(
        self, topics: Sequence[str], group: str
    ) -> tuple[dict[str, set[str]], set[str] | None]:
        full = {self._environment.topic(topic): topic for topic in topics}
        asks: dict[str, Any] = {
            "request_timeout": _OPERATIONS_S,
            "include_authorized_operations": True,
        }
        admin = self._own_admin()
        answers = admin.describe_topics(TopicCollection([*full]), **asks)
        in_group = admin.describe_consumer_groups([group], **asks)[group] if group else None
        found = {}
        for topic, answer in answers.items():
            allowed = self._allowed(answer, KafkaError.TOPIC_AUTHORIZATION_FAILED)
            if allowed is not None:
                found[full[topic]] = allowed
        if in_group is None:
            return found, None
        return found, self._allowed(in_group, KafkaError.GROUP_AUTHORIZATION_FAILED)

    def _allowed(self, answer: Future[Any], refusal: int) -> set[str] | None:
        """Return the operations of an answer; none of them where even Describe is refused."""
        try:
            return operations_of(answer.result())
        except KafkaException as error:
            if error.args[0].code() == refusal:
                return set()
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            self._admin = None
            raise

    def _bounds(self, source: TopicPartition, client: WatchedConsumer) -> Bounds:
        at = self._at(source)
        try:
            return Bounds(*client.get_watermark_offsets(at, timeout=_TIMEOUT_S))
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                # Otherwise the client would remember for minutes that there is no such topic.
                client.list_topics(topic=at.topic, timeout=_TIMEOUT_S)
            raise

    def _standing(
        self, group: str, sources: Sequence[TopicPartition], unread: Sequence[TopicPartition]
    ) -> dict[TopicPartition, PartitionOffsets]:
        committed = self._committed(group, [*sources, *unread])
        bounds = {at: self._bounds(at, self._topics) for at in sources}
        bounds |= dict.fromkeys(unread, Bounds(0, 0))
        found = {}
        for at, (first, end) in bounds.items():
            offset, text = committed.get(at, (first, ""))
            found[at] = PartitionOffsets(first, end, offset, decode_mark(text))
        return found

    def _committed(
        self, group: str, sources: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Committed]:
        try:
            found = self._committed_by(group, sources, stable=True)
        except KafkaException:
            try:
                found = self._committed_by(group, sources, stable=False)
            except KafkaException:
                # The broker is away, so no transaction is to blame.
                self._unstable.forget(group)
                raise
            if not self._unstable.note(group):
                raise
            log.error(
                "offsets of the group %s are held back by a transaction that does not end: going on"
                " from those that are committed; %s",
                self._environment.group(group),
                WAY_OUT,
            )
        else:
            self._unstable.forget(group)
        return {
            self._source(place): Committed(int(place.offset), _text_beside(place))
            for place in found
            if place.offset >= 0
        }

    def _committed_by(
        self, group: str, sources: Sequence[TopicPartition], *, stable: bool
    ) -> Sequence[KafkaPartition]:
        """Ask for stable offsets, by a consumer that reads committed, or for the present ones.

        The consumers never join the group.
        """
        wanted = [self._at(source) for source in sources]
        return self._checked(self._client(group, stable=stable).committed(wanted, _TIMEOUT_S))

    def _client(self, group: str, *, stable: bool) -> WatchedConsumer:
        key = group, stable
        if key not in self._groups:
            self._groups[key] = self._new_group(group, stable=stable)
        return self._groups[key]

    @staticmethod
    def _checked(found: Sequence[KafkaPartition]) -> Sequence[KafkaPartition]:
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return found

    def _at(self, source: TopicPartition, offset: int = 0) -> KafkaPartition:
        return KafkaPartition(self._environment.topic(source.topic), source.partition, offset)

    def _source(self, place: KafkaPartition) -> TopicPartition:
        return TopicPartition(self._environment.named(place.topic), place.partition)


def operations_of(described: Any) -> set[str] | None:
    """Return what this user may do with what was described; None of a broker that does not tell."""
    found = described.authorized_operations
    return {"".join(map(str.title, one.name.split("_"))) for one in found} if found else None


def _text_beside(place: KafkaPartition) -> str:
    """Return the JSON that was committed beside an offset, or another text as it is.

    librdkafka 2.16 copies the text without its final zero, so foreign bytes may follow.
    """
    try:
        text = str(place.metadata or "")
    except UnicodeDecodeError as error:
        text = error.object.decode("utf-8", "replace")
    with suppress(ValueError):
        _, end = _json.raw_decode(text)
        return text[:end]
    return text
