"""Groups of workers: each input once in what others read, by the roles of the members."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import pairwise
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from builders.group_member import Member, claimed
from builders.kafka_log import KafkaLog, until
from builders.lost_brokers import forget_brokers
from builders.waiting import until as until_true
from feedmill.deploy.local import StackAddress
from feedmill.deploy.local.process import HOST, free_port
from feedmill.streams.environment import Environment
from feedmill.streams.kafka import backlog, group
from feedmill.streams.kafka.assignment import (
    POSTS,
    SHARDS,
    AssignmentChange,
    Membership,
    assignment_change,
)
from feedmill.streams.kafka.batches import FetchedRecords, TopicPartition
from feedmill.streams.kafka.client import WatchedConsumer, new_group_consumer, rebalance_s
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.group import MOST_WAIT_S, GroupConsumer, PostsFirst
from feedmill.streams.kafka.messages import Fetched
from feedmill.streams.kafka.offsets import CommitMark, PartitionOffsets

FIRST = TopicPartition("posts", 0)


def turn(*members: Member) -> None:
    for member in members:
        member.turn()


def posts(count: int, name: str = "p") -> list[tuple[bytes, bytes]]:
    return [(f"{name}{i}".encode(), b"x") for i in range(count)]


def copies(kafka: KafkaLog) -> Counter[bytes]:
    return Counter(message.key() for message in kafka.read("signals.quality"))


def test_a_rebalance_commits_before_the_partitions_go(kafka: KafkaLog) -> None:
    # An hour between commits: what is committed, the revocation committed.
    first = claimed(Member(kafka.named("first"), interval_s=3600))
    kafka.produce("posts", posts(300))
    until(lambda: first.seen == 300, first.turn)
    first.writer.note(FIRST, "rules", "offset 7")
    second = Member(kafka.named("second"))

    both_turn = partial(turn, first, second)
    until(lambda: second.changes and len(first.changes) == 2, both_turn)
    assert copies(kafka) == Counter(key for key, _ in posts(300))
    ends = {m.partition(): (m.offset() or 0) + 1 for m in kafka.read("signals.quality")}
    written = {at.partition: offset for at, offset in first.writer.written().items()}
    assert written.keys() == ends.keys()
    assert all(0 < offset <= ends[partition] for partition, offset in written.items())
    kept, moved = first.changes[1], second.changes[0]
    assert (kept.kept, kept.lost, kept.gained) == ((0,), (1,), ())
    assert moved.gained == (1,)
    assert kept.notes[FIRST] == {"rules": "offset 7"}
    assert sum((*kept.starts.values(), *moved.starts.values())) >= 300
    kafka.produce("posts", posts(100, "later"))
    until(lambda: first.seen + second.seen == 400 and second.is_done, both_turn)
    first.close()
    second.close()
    assert copies(kafka) == Counter(key for key, _ in posts(300) + posts(100, "later"))


def test_what_was_fetched_and_not_taken_is_taken_after_a_rebalance(kafka: KafkaLog) -> None:
    first, count = claimed(Member(kafka.named("first"), most=1)), 20_000
    kafka.produce("posts", posts(count))
    until(lambda: first.seen > 10, first.turn)
    second = Member(kafka.named("second"))

    both_turn = partial(turn, first, second)
    until(lambda: second.changes and len(first.changes) == 2, both_turn)
    assert first.seen < count / 2
    first.most = second.most = 1000
    until(lambda: first.seen + second.seen >= count and first.is_done and second.is_done, both_turn)
    first.close()
    second.close()
    assert copies(kafka) == Counter(key for key, _ in posts(count))


def test_a_backlog_of_several_partitions_comes_in_the_order_of_its_times(kafka: KafkaLog) -> None:
    # More than a fetch of one partition brings, at many times.
    for part in range(20):
        kafka.produce("posts", [(key, b"x" * 1000) for key, _ in posts(200, f"{part}-")])
        time.sleep(0.02)
    member = Member(kafka.named("late"))
    until(lambda: member.seen == 4000 and member.is_done, member.turn)
    kafka.produce("posts", posts(10, "new"))
    until(lambda: member.seen == 4010 and member.is_done, member.turn)
    member.close()
    assert len(member.times) > 20
    assert all(before[1] <= after[0] for before, after in pairwise(member.times))
    assert copies(kafka).total() == 4010


def test_gained_partitions_begin_together_but_wait_some_seconds_at_most(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = GroupConsumer(
        Connection(kafka.named("one")), "worker", owner="one", on_revoked=lambda: True
    )
    consumer.start()
    until(lambda: consumer.take_change() is not None, partial(consumer.poll, 1, 0.01))
    consumer.begin([1])
    assert consumer.reading == set()
    monkeypatch.setattr(backlog, "TOGETHER_S", -1.0)
    consumer.begin([1])
    assert consumer.reading == {1}
    monkeypatch.undo()
    consumer.halt()
    consumer.begin([1])
    assert consumer.reading == set()
    consumer.begin([0, 1])
    assert consumer.reading == {0, 1}
    consumer.close()


def test_an_upstream_that_aborts_does_not_keep_a_restart_from_being_ready(kafka: KafkaLog) -> None:
    for number in range(21):
        with kafka.transaction("upstream", abort=number == 20) as produce:
            for key, value in posts(10, f"t{number}-"):
                produce("posts", key, value)
    for _ in range(2):
        member = Member(kafka.named("again"))
        until(partial(attrgetter("is_done"), member), member.turn)
        assert sum(member.group.progress.lag.values()) == 0
        member.close()
    assert sum(copies(kafka).values()) == 200


def test_a_topic_with_create_time_is_named_until_it_is_set_right(kafka: KafkaLog) -> None:
    def stamp(kind: str) -> None:
        admin = AdminClient({"bootstrap.servers": kafka.environment.kafka})
        entry = ConfigEntry(
            "message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET
        )
        topic = ConfigResource(
            ConfigResource.Type.TOPIC, kafka.environment.topic("posts"), incremental_configs=[entry]
        )
        for future in admin.incremental_alter_configs([topic]).values():
            future.result(30)

    stamp("CreateTime")
    member = Member(kafka.named("stamps"))
    sent = 0

    # The broker stamps by a new setting a moment after it took it.
    def one_more() -> None:
        nonlocal sent
        kafka.produce("posts", posts(1, f"{sent}-"))
        sent += 1
        member.turn()

    way_out = "`feedmill topics create --apply` sets LogAppendTime"
    until(lambda: way_out in member.group.ready_reason(), one_more)
    stamp("LogAppendTime")
    until(lambda: way_out not in member.group.ready_reason(), one_more)
    until(lambda: member.seen == sent and not member.group.ready_reason(), member.turn)
    member.close()


def test_what_kafka_refuses_for_its_size_becomes_a_dead_letter(kafka: KafkaLog) -> None:
    kafka.produce("posts", posts(50))
    member = Member(kafka.named("large"))
    until(lambda: member.seen == 50 and member.is_done, member.turn)
    # One beyond the client's limit, one beyond the topic's.
    for name, size in ((b"beyond-client", 6_000_000), (b"beyond-topic", 2_000_000)):
        member.writer.add("signals.quality", name, b"x" * size, owner=FIRST)
    member.writer.add("signals.quality", b"fits", b"x", owner=FIRST)
    member.turn()
    until(lambda: member.is_done, member.turn)
    member.close()
    assert copies(kafka) == Counter([key for key, _ in posts(50)] + [b"fits"])
    letters = {m.key(): dict(m.headers()) for m in kafka.read("dead-letters")}
    assert {key: headers["size"] for key, headers in letters.items()} == {
        b"beyond-client": b"6000000",
        b"beyond-topic": b"2000000",
    }


def test_a_member_whose_client_knows_no_broker_joins_by_another(
    stack: StackAddress, prefix: str
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, session_timeout_ms=6000)
    member = claimed(Member(kafka.environment))
    kafka.produce("posts", posts(300))
    until(lambda: member.seen >= 100, member.turn)
    before = member.group._consumer
    forget_brokers(before)
    until(lambda: len(member.changes) == 3, member.turn)
    assert member.group._consumer is not before
    _, lost, gained = member.changes
    assert (lost.lost, lost.owned) == ((0, 1), ())
    assert gained.gained == (0, 1)
    kafka.produce("posts", posts(100, "later"))
    wanted = Counter(key for key, _ in posts(300) + posts(100, "later"))
    until(lambda: member.is_done and copies(kafka) == wanted, member.turn)
    assert member.group.caught_up()
    member.close()


def test_a_member_that_waits_longer_than_a_rebalance_takes_joins_by_another_client(
    stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = KafkaLog.created(stack.kafka, prefix, session_timeout_ms=6000)
    nowhere = replace(kafka.environment, kafka=f"{HOST}:{free_port(set())}")
    environments = [nowhere, kafka.environment]
    made: list[WatchedConsumer] = []

    def new_consumer(_: Environment, *more: Any, **settings: Any) -> WatchedConsumer:
        made.append(new_group_consumer(environments[len(made)], *more, **settings))
        return made[-1]

    monkeypatch.setattr(group, "new_group_consumer", new_consumer)
    monkeypatch.setattr(group, "MORE_THAN_REBALANCE_S", 1.0 - rebalance_s(kafka.environment))
    member = Member(kafka.environment)
    until(lambda: len(made) == 2, member.turn)
    # The group gives partitions at once; with a fault it would join again and again.
    monkeypatch.setattr(group, "MORE_THAN_REBALANCE_S", 3600.0)
    kafka.produce("posts", posts(100))
    until(lambda: member.is_done and copies(kafka).total() == 100, member.turn)
    assert len(made) == 2
    member.close()


def with_engagements(kafka: KafkaLog) -> GroupConsumer:
    return GroupConsumer(
        Connection(kafka.environment),
        "worker",
        owner="one",
        on_revoked=lambda: True,
        beside=["engagements"],
    )


def test_topics_beside_are_read_on_by_another_client(kafka: KafkaLog) -> None:
    consumer = with_engagements(kafka)
    consumer.start()
    found: list[bytes] = []

    def turn() -> None:
        consumer.poll(100, 0.01)
        while (change := consumer.take_change()) is not None:
            consumer.begin(change.owned)
        for batch in consumer.poll_beside(50, 0.01):
            found.extend(record.key or b"" for record in batch.records)

    until(lambda: consumer.reading, turn)
    # They may begin later than `posts`, and go on then.
    assert not consumer.is_whole
    consumer.begin([], [0, 1])
    assert consumer.is_whole
    consumer.begin([], [])
    kafka.produce("engagements", posts(200))
    until(lambda: len(found) >= 50, turn)
    before = consumer._beside
    forget_brokers(before)
    kafka.produce("engagements", posts(100, "later"))
    until(lambda: len(found) >= 300, turn)
    assert consumer._beside is not before
    assert Counter(found) == Counter(key for key, _ in posts(200) + posts(100, "later"))
    consumer.close()


def test_engagements_of_new_posts_wait_for_the_posts_before_them(kafka: KafkaLog) -> None:
    consumer = with_engagements(kafka)
    known: set[str] = set()
    consumer.posts_first.is_new = lambda _, post_id: post_id not in known
    consumer.start()
    found: list[bytes] = []

    def settle() -> None:
        consumer.poll(100, 0.01)
        while (change := consumer.take_change()) is not None:
            consumer.begin(change.owned, change.owned)

    def look() -> None:
        for batch in consumer.poll_beside(100, 0.01):
            found.extend(record.key or b"" for record in batch.records)

    def read_posts() -> None:
        for batch in consumer.poll(100, 0.01):
            known.update((record.key or b"").decode() for record in batch.records)
        look()

    until(lambda: consumer.reading, settle)
    kafka.produce("posts", posts(50))
    kafka.produce("engagements", [*posts(50), *posts(50, "never")])
    positions = consumer.positions()
    until(lambda: consumer.posts_first.size, look)
    # Whatever is waited for: as long as no post is read, nothing of a new one comes.
    for _ in range(20):
        look()
    assert (found, consumer.positions()) == ([], positions)
    until(lambda: len(found) == 100, read_posts)
    assert Counter(found) == Counter(key for key, _ in [*posts(50), *posts(50, "never")])
    assert len(known) == 50
    consumer.close()


ROLES = {"judge": (POSTS,), "ranker": (SHARDS,), "worker": (POSTS, SHARDS)}
FIRST_SHARD = TopicPartition(SHARDS, 0)
PARTITIONS, COUNT = 4, 64


@pytest.fixture
def ranked_kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, PARTITIONS, ranks=True)


def turn_all(members: Sequence[Member]) -> None:
    for member in members:
        member.turn()


def ranker(ranked_kafka: KafkaLog, name: str) -> Member:
    return Member(ranked_kafka.named(name), shares=ROLES["ranker"])


def shares(members: Sequence[Member], topic: str) -> list[tuple[int, ...]]:
    """What each member has of a topic."""
    changes = [one.changes[-1] for one in members if one.changes]
    return [change.owned if topic == POSTS else change.shards for change in changes]


@pytest.mark.parametrize(
    "roles",
    [
        ("judge", "ranker"),
        ("ranker", "judge", "worker"),
        ("judge", "ranker", "judge", "ranker"),
        ("worker", "worker"),
    ],
)
def test_each_role_gets_its_topics_alone(ranked_kafka: KafkaLog, roles: Sequence[str]) -> None:
    # By the names the order differs from that of joining.
    members = [
        Member(ranked_kafka.named(f"{9 - n}-{role}"), shares=ROLES[role])
        for n, role in enumerate(roles)
    ]

    def is_shared_out() -> bool:
        found = {topic: shares(members, topic) for topic in (POSTS, SHARDS)}
        return len(found[POSTS]) == len(members) and all(
            sorted(n for part in parts for n in part) == [*range(count)]
            and [bool(part) for part in parts] == [topic in one.shares for one in members]
            for (topic, parts), count in zip(found.items(), (PARTITIONS, COUNT), strict=True)
        )

    until(
        lambda: is_shared_out() and all(one.is_done for one in members), partial(turn_all, members)
    )
    posts = [(b"p%d" % n, b"x") for n in range(100)]
    ranked_kafka.produce(POSTS, posts)
    until(lambda: sum(one.seen for one in members) == len(posts), partial(turn_all, members))
    assert all((one.seen > 0) == (POSTS in one.shares) for one in members)
    for one in members:
        one.close()


def test_a_ranker_without_posts_commits_and_is_fenced_by_its_shards(ranked_kafka: KafkaLog) -> None:
    former = claimed(ranker(ranked_kafka, "former"))
    former.writer.add(SHARDS, b"first claim", b"{}", owner=FIRST_SHARD)
    former.turn()
    until(former.writer.is_committed, former.turn)
    # It left the group and does not know it: what it still sends must not take effect.
    former.group._on_revoked = lambda: False
    former.group.close()
    former.writer.add(SHARDS, b"late claim", b"{}", owner=FIRST_SHARD)
    former.writer.seal({})
    until_true(lambda: former.writer.trouble or former.writer.is_committed())
    former.writer.close()
    assert [one.key() for one in ranked_kafka.read(SHARDS)] == [b"first claim"]


def test_shards_that_nobody_else_had_are_kept_and_notes_go_with_them(
    ranked_kafka: KafkaLog,
) -> None:
    first = claimed(ranker(ranked_kafka, "first"))
    assert (first.changes[0].shards_gained, first.changes[0].owned) == ((*range(COUNT),), ())
    first.writer.note(FIRST_SHARD, "letters", "7")
    second = ranker(ranked_kafka, "second")
    both = [first, second]
    until(lambda: second.changes and len(first.changes) == 2, partial(turn_all, both))
    stayed, moved = first.changes[1], second.changes[0]
    half = (*range(COUNT // 2),)
    assert (stayed.shards_kept, stayed.shards_lost) == (half, (*range(COUNT // 2, COUNT),))
    assert (stayed.notes[FIRST_SHARD], moved.shards_gained) == (
        {"letters": "7"},
        stayed.shards_lost,
    )
    until(lambda: all(one.is_done for one in both), partial(turn_all, both))
    second.close()
    until(lambda: len(first.changes) == 3 and first.is_done, first.turn)
    assert first.changes[2].shards_kept == half
    assert first.changes[2].shards_gained == moved.shards_gained
    first.close()
    heir = claimed(ranker(ranked_kafka, "heir"))
    assert heir.changes[0].notes[FIRST_SHARD] == {"letters": "7"}
    heir.close()


def test_what_another_one_had_in_between_is_lost_and_gained() -> None:
    # As in a generation of the group that this member missed.
    before = AssignmentChange(1, gained=(0, 1), shards_gained=(0, 1))
    now = Membership("settled", partitions=frozenset((0, 1)), shards=frozenset((0, 1, 2)))
    places = [TopicPartition(topic, n) for topic in (POSTS, SHARDS) for n in range(3)]
    offsets = {at: PartitionOffsets(0, 0, 0, CommitMark()) for at in places}
    mine = {TopicPartition(POSTS, 1), FIRST_SHARD}
    change = assignment_change(before, now, mine.issuperset, offsets, (POSTS,))
    assert (change.kept, change.lost, change.gained) == ((1,), (0,), (0,))
    assert (change.shards_kept, change.shards_lost, change.shards_gained) == ((0,), (1,), (1, 2))
    assert {at.topic for at in change.starts} == {POSTS}


FIRST, ENGAGEMENTS = (TopicPartition(topic, 0) for topic in ("posts", "engagements"))


class Reader:
    """Engagements of partition 0, whose posts are read to `read`; `known` are posts that are."""

    def __init__(self, *known: str) -> None:
        self.known, self.read = {*known}, 0
        self.questions: list[Future[dict[TopicPartition, int]]] = []
        offsets: Any = self
        self.order = PostsFirst(offsets)
        self.order.is_new = lambda _, post_id: post_id not in self.known

    def readable_ends(self, sources: list[TopicPartition]) -> Future[dict[TopicPartition, int]]:
        assert sources == [FIRST]
        self.questions.append(Future())
        return self.questions[-1]

    def answer(self, end: int) -> None:
        self.questions[-1].set_result({FIRST: end})

    def fetch(self, post_ids: str = "", first: int = 0, *, create_time: bool = False) -> Fetched:
        """What comes of an engagement of each post: of one letter each, at offsets from `first`."""
        records = FetchedRecords()
        records.keys = [one.encode() for one in post_ids]
        records.offsets = [*range(first, first + len(post_ids))]
        records.timestamps, records.values = [5] * len(post_ids), [b"x"] * len(post_ids)
        fetched = Fetched({ENGAGEMENTS: records} if post_ids else {})
        fetched.ends = {ENGAGEMENTS: first + len(post_ids)} if post_ids else {}
        fetched.create_times = {ENGAGEMENTS} if create_time else set()
        return self.order.let_through(fetched, {FIRST: self.read})

    def take(self, post_ids: str = "", first: int = 0) -> str:
        records = self.fetch(post_ids, first).records.get(ENGAGEMENTS)
        return "" if records is None else b"".join(k or b"" for k in records.keys).decode()


def test_engagements_of_posts_that_are_there_wait_for_nothing() -> None:
    reader = Reader("a", "b")
    fetched = reader.fetch("abba", create_time=True)
    assert fetched.records[ENGAGEMENTS].offsets == [0, 1, 2, 3]
    assert fetched.ends == {ENGAGEMENTS: 4}
    assert fetched.create_times == {ENGAGEMENTS}
    assert not reader.questions


def test_that_of_a_new_post_waits_until_posts_are_read_and_all_behind_it_do() -> None:
    reader = Reader("a")
    first = reader.fetch("aba")
    assert first.records[ENGAGEMENTS].offsets == [0]
    assert first.ends == {}  # the position stays before what waits
    assert reader.take("aa", 3) == ""
    reader.answer(7)
    reader.read = 6
    assert reader.take() == ""
    reader.read, reader.known = 7, {"a", "b"}
    last = reader.fetch()
    assert last.records[ENGAGEMENTS].offsets == [1, 2, 3, 4]
    assert last.ends == {ENGAGEMENTS: 5}
    assert len(reader.questions) == 1


def test_that_of_a_post_that_is_not_in_the_log_goes_on_then() -> None:
    reader = Reader("a")
    assert reader.take("xa") == ""
    reader.answer(0)
    # Of what came after the question the answer says nothing.
    assert reader.take("xaxa", 2) == "xa"
    reader.answer(9)
    assert reader.take() == ""
    reader.read = 9
    assert reader.take() == "xaxa"


def test_it_waits_no_longer_for_posts_that_do_not_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(group, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reader = Reader()
    assert reader.take("xy") == ""
    reader.answer(7)
    for reader.read in (0, 5):
        assert reader.take() == ""
        now[0] += MOST_WAIT_S - 1
    assert reader.take() == ""
    now[0] += 1
    assert reader.take() == "xy"
    # It stands there still: what comes next waits for Kafka's answer alone.
    assert reader.take("z", 2) == ""
    reader.answer(8)
    assert reader.take() == "z"
    # It came to its end, and is waited for again.
    for offset, reader.read in ((3, 8), (4, 8)):
        assert reader.take("z", offset) == ""
        reader.answer(offset + 5)
        assert reader.take() == ("z" if offset == 3 else "")


def test_it_does_not_wait_for_a_partition_that_is_stopped() -> None:
    reader = Reader()
    assert reader.take("xy") == ""
    reader.answer(7)
    assert reader.take() == ""
    assert reader.order.let_through(Fetched(), {}).records[ENGAGEMENTS].offsets == [0, 1]


def test_it_is_asked_again_where_the_broker_was_away() -> None:
    reader = Reader()
    assert reader.take("x") == ""
    reader.questions[0].set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    assert reader.take() == ""
    reader.answer(0)
    assert reader.take() == "x"


def test_what_waits_has_a_size_until_it_is_read_again() -> None:
    reader = Reader("a")
    assert (reader.take("axa"), reader.order.size > 400) == ("a", True)
    before = reader.order.size
    assert (reader.take("a", 3), reader.order.size) == ("", before * 3 // 2)
    reader.order.clear()
    assert reader.order.size == 0
    assert reader.take("a", 1) == "a"
