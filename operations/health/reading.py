"""Reads what Kafka and Redis tell of an installation, within seconds whatever state they are in."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import kafka.errors
import msgspec
import redis
from kafka import TopicPartition
from kafka.admin import OffsetSpec
from msgspec import Struct
from redis.cluster import RedisCluster

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent, FeedmillError, UsageError
from feedmill.events.signal import stage_of
from feedmill.operations.health.beats import next_beat, without_replaced
from feedmill.operations.health.seen import Beat, FeedState, KafkaState, RedisState, Seen, Trouble
from feedmill.operations.worker_groups import once_loaded
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import CallIsStuck, bounded
from feedmill.streams.kafka.dead_letters import TOPIC as LETTERS
from feedmill.streams.kafka.dead_letters import LetterHead, read_letters
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, send
from feedmill.streams.kafka.topics import open_admin
from feedmill.streams.redis.reader import FeedSnapshot, open_feed_reader

T = TypeVar("T")

# Its record has no value, so nobody takes it for an instance; the broker stamps it.
_CLOCK_KEY = b"clock/health"
_SINCE_MS = 3_600_000
_MINUTE_MS = 60_000
# Of the last hour, in a flood of bad records, too.
_MOST_LETTERS = 10_000
# An answer that takes longer is none.
_WITHIN_S = 10.0
# A broker that has just started reads its groups, and refuses to tell of them meanwhile.
_LOADED_WITHIN_S = 5.0
_INPUTS = ("posts", "engagements")
# Of so many posts of each partition it is seen whether they have the signals of other programs.
_NEWEST_POSTS = 20
_ANSWERED_WITHIN_MS = 5_000


class _Refused(NamedTuple):
    """How many writes had been refused at a time."""

    at_ms: int
    writes: int


class HealthReader:
    """Reads again and again; what it once read of `instances` and `config` it keeps."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._kafka: _KafkaReader | None = None

    def read(self) -> Seen:
        """Read what there is now; where something does not answer, say so."""
        servers = f"Kafka at {self._environment.kafka}"
        kafka_state, kafka_trouble = _answer(servers, "--kafka", self._read_kafka)
        if kafka_state is None:
            # The next one connects anew.
            self._kafka = None
        now_ms = int(time.time() * 1000) if kafka_state is None else kafka_state.log_now_ms
        server = f"Redis at {self._environment.redis_address}"
        redis_state, redis_trouble = _answer(
            server, "--redis", lambda: read_redis(self._environment, now_ms)
        )
        names = self._environment.signals
        return Seen(names, kafka_state, redis_state, kafka_trouble, redis_trouble)

    def close(self) -> None:
        """Disconnect."""
        if self._kafka is not None:
            self._kafka.close()

    def _read_kafka(self) -> KafkaState:
        if self._kafka is None:
            self._kafka = _KafkaReader(self._environment)
        return self._kafka.read()


def _answer(who: str, flag: str, ask: Callable[[], T]) -> tuple[T | None, Trouble | None]:
    """Return the answer, or why there is none; `flag` is where its address may be wrong."""
    answers: list[T] = []
    way_out = f"start it (`feedmill local up` starts a local one), or correct {flag}"
    try:
        bounded(lambda: answers.append(ask()), _WITHIN_S)
    except CallIsStuck:
        return None, Trouble(f"{who}: no answer within {_WITHIN_S:.0f} s", way_out)
    except (kafka.errors.KafkaError, redis.RedisError) as error:
        return None, Trouble(f"{who}: {_reason(error)}", way_out)
    except FeedmillError as error:
        what, _, own_way_out = str(error).partition("; ")
        return None, Trouble(what, own_way_out or way_out)
    return answers[0], None


def _reason(error: Exception) -> str:
    away = (kafka.errors.KafkaConnectionError, kafka.errors.KafkaTimeoutError)
    # A wrong password is a `ConnectionError` too, and says what it is.
    is_away = isinstance(error, (*away, redis.ConnectionError))
    if is_away and not isinstance(error, redis.AuthenticationError):
        return "cannot connect"
    return str(error).rstrip(".") or type(error).__name__


class _KafkaReader:
    """Follows `instances` and `config`, and asks for offsets."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._open = ExitStack()
        self._instances: TopicReader | None = None
        self._beats: dict[str, Beat] = {}
        self._refused: dict[str, list[_Refused]] = {}
        self._settings: dict[str, int] = {}
        self._letters = deque[LetterHead](maxlen=_MOST_LETTERS)

    def read(self) -> KafkaState:
        """Read what came since, and offsets as they are."""
        is_new = self._instances is None
        if self._instances is None:
            self._instances = self._open.enter_context(open_topic(self._environment, "instances"))
            self._config = self._open.enter_context(open_topic(self._environment, "config"))
            self._letter_reader = self._open.enter_context(open_topic(self._environment, LETTERS))
        # By the broker's time: the clock of this host may be off.
        now_ms = send(self._environment, "instances", _CLOCK_KEY, None).at_ms
        if is_new:
            self._instances.seek_to_time(now_ms - _SINCE_MS)
            self._config.seek_to_beginning()
            self._letter_reader.seek_before_end(_MOST_LETTERS)
        for record in self._instances.read_to_end():
            self._take(record.key or b"", record.value, record.at_ms)
        for record in self._config.read_to_end():
            self._settings[(record.key or b"").decode("utf-8", "replace")] = record.offset
        beats = tuple(
            replace(beat, refused_writes=self._refused_since(name, now_ms - _MINUTE_MS))
            for name, beat in self._beats.items()
            # After a step back of the broker's clock the last ones before it are ahead.
            if -_MINUTE_MS <= now_ms - beat.at_ms <= _SINCE_MS
        )
        groups = {beat.instance.group for beat in beats if beat.instance.group}
        partitions, waiting = self._offsets(groups)
        unanswered = {
            (name, partition): count
            for name in self._environment.signals.own
            for partition, count in _unanswered(self._environment, name, now_ms).items()
        }
        self._letters += read_letters(self._letter_reader)
        rejected = Counter[str]()
        for letter in self._letters:
            if letter.at_ms >= now_ms - _SINCE_MS:
                rejected[letter.rejected.topic] += max(1, letter.records)
        found = KafkaState(now_ms, without_replaced(beats, now_ms), partitions, waiting)
        return replace(
            found, settings=dict(self._settings), unanswered=unanswered, rejected=rejected
        )

    def close(self) -> None:
        self._open.close()

    def _take(self, key: bytes, value: bytes | None, at_ms: int) -> None:
        name = key.decode("utf-8", "replace")
        try:
            instance = decode_instance(value) if value else None
        except BadEvent:
            return
        if instance is None:
            self._beats.pop(name, None)
            self._refused.pop(name, None)
            return
        self._beats[name] = next_beat(self._beats.get(name), instance, at_ms)
        if instance.refused_writes:
            self._refused.setdefault(name, [_Refused(0, 0)])
        if name in self._refused:
            self._refused[name].append(_Refused(at_ms, instance.refused_writes))

    def _refused_since(self, name: str, since_ms: int) -> int:
        """How many writes were refused since a time."""
        seen = self._refused.get(name, [])
        while len(seen) > 1 and seen[1].at_ms < since_ms:
            del seen[0]
        return max(0, seen[-1].writes - seen[0].writes) if seen else 0

    def _offsets(self, groups: Iterable[str]) -> tuple[int, Mapping[tuple[str, int], int]]:
        """Return how many partitions there are, and how many records wait in each."""
        environment = self._environment
        with open_admin(environment.kafka, environment.security) as admin:
            names = {environment.topic(topic): topic for topic in _INPUTS}
            # To describe a topic by name would create it on a broker that creates topics by itself.
            sources = [
                TopicPartition(topic["name"], one["partition_index"])
                for topic in admin.describe_topics()
                for one in topic["partitions"]
                if topic["name"] in names
            ]
            missing = names.keys() - {at.topic for at in sources}
            if missing:
                text = ", ".join(f"`{name}`" for name in sorted(missing))
                raise UsageError(f"there is no topic {text}; `feedmill topics create` makes it")
            ends = admin.list_partition_offsets(dict.fromkeys(sources, OffsetSpec.LATEST))
            committed: Any = {}
            if groups:
                ask = partial(admin.list_group_offsets, list(groups))
                committed = once_loaded(ask, _LOADED_WITHIN_S)
        waiting: dict[tuple[str, int], int] = {}
        for offsets in committed.values():
            for at, found in offsets.items():
                if at in ends:
                    left = max(0, ends[at].offset - found.offset)
                    key = names[at.topic], at.partition
                    waiting[key] = min(left, waiting.get(key, left))
        return sum(at.topic == environment.topic("posts") for at in sources), waiting


class _Answer(Struct):
    """What is read of a signal."""

    post_id: str
    post_offset: int


def _unanswered(environment: Environment, name: str, now_ms: int) -> dict[int, int]:
    """Return by partition how many of the newest posts lack a signal that they should have."""
    lacking: dict[tuple[int, bytes], int] = {}
    with open_topic(environment, "posts") as posts:
        posts.seek_before_end(_NEWEST_POSTS)
        for record in posts.read_to_end():
            key = record.partition, record.key or b""
            lacking.pop(key, None)
            if record.value and record.at_ms < now_ms - _ANSWERED_WITHIN_MS:
                lacking[key] = record.offset
    with open_topic(environment, f"signals.{name}") as signals:
        # Each post may have been answered more than once.
        signals.seek_before_end(10 * _NEWEST_POSTS)
        for record in signals.read_to_end():
            key = record.partition, record.key or b""
            try:
                answer = msgspec.json.decode(record.value or b"", type=_Answer)
            except msgspec.MsgspecError:
                continue
            if answer.post_offset >= lacking.get(key, 0):
                lacking.pop(key, None)
    return Counter(partition for partition, _ in lacking)


def read_redis(environment: Environment, now_ms: int) -> RedisState:
    """Read what Redis tells of the feeds; `now_ms` is the time as workers go by."""
    client: Any = open_feed_reader(environment.redis, environment.redis_prefix).client
    prefix = environment.redis_prefix
    try:
        memory = _memory(client)
        names = [name.decode("utf-8", "replace") for name in client.zrange(f"{prefix}feeds", 0, -1)]
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(f"{prefix}feed:{{{name}}}:info")
            found = [
                {key.decode(): value.decode("utf-8", "replace") for key, value in info.items()}
                for info in pipe.execute()
            ]
    finally:
        client.close()
    feeds = [FeedSnapshot(name, (), info) for name, info in zip(names, found, strict=True) if info]
    return RedisState(
        tuple(_feed_state(feed, now_ms) for feed in feeds),
        *memory,
    )


def _memory(client: Any) -> tuple[int, int]:
    """Return how many bytes are used and how many may be, 0: any; of all servers together."""
    if not isinstance(client, RedisCluster):
        found = [client.info("memory")]
    else:
        found = list(client.info("memory", target_nodes=RedisCluster.PRIMARIES).values())
    most = [int(one.get("maxmemory", 0)) for one in found]
    return sum(int(one["used_memory"]) for one in found), sum(most) if all(most) else 0


def _feed_state(feed: FeedSnapshot, now_ms: int) -> FeedState:
    stages = [name for name, gate in feed.gates.items() if gate.required]
    stages += map(stage_of, feed.weights.signals)
    return FeedState(feed.feed, feed.state(now_ms), feed.fresh_for_ms(now_ms), frozenset(stages))
