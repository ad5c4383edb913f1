"""One group of workers: who judges gets posts, who ranks gets shards of feeds."""

from collections.abc import Sequence
from functools import partial

import pytest

from builders.group_member import Member, claimed
from builders.kafka_log import KafkaLog, until
from builders.waiting import until as until_true
from feedmill.deploy.local import StackAddress
from feedmill.streams.kafka.assignment import (
    POSTS,
    SHARDS,
    AssignmentChange,
    Membership,
    assignment_change,
)
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import CommitMark, PartitionOffsets

ROLES = {"judge": (POSTS,), "ranker": (SHARDS,), "worker": (POSTS, SHARDS)}
FIRST = TopicPartition(SHARDS, 0)
PARTITIONS, COUNT = 4, 64


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, PARTITIONS, ranks=True)


def turn(members: Sequence[Member]) -> None:
    for member in members:
        member.turn()


def ranker(kafka: KafkaLog, name: str) -> Member:
    return Member(kafka.named(name), shares=ROLES["ranker"])


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
def test_each_role_gets_its_topics_alone(kafka: KafkaLog, roles: Sequence[str]) -> None:
    # By the names the order differs from that of joining.
    members = [
        Member(kafka.named(f"{9 - n}-{role}"), shares=ROLES[role]) for n, role in enumerate(roles)
    ]

    def is_shared_out() -> bool:
        found = {topic: shares(members, topic) for topic in (POSTS, SHARDS)}
        return len(found[POSTS]) == len(members) and all(
            sorted(n for part in parts for n in part) == [*range(count)]
            and [bool(part) for part in parts] == [topic in one.shares for one in members]
            for (topic, parts), count in zip(found.items(), (PARTITIONS, COUNT), strict=True)
        )

    until(lambda: is_shared_out() and all(one.is_done for one in members), partial(turn, members))
    posts = [(b"p%d" % n, b"x") for n in range(100)]
    kafka.produce(POSTS, posts)
    until(lambda: sum(one.seen for one in members) == len(posts), partial(turn, members))
    assert all((one.seen > 0) == (POSTS in one.shares) for one in members)
    for one in members:
        one.close()


def test_a_ranker_without_posts_commits_and_is_fenced_by_its_shards(kafka: KafkaLog) -> None:
    former = claimed(ranker(kafka, "former"))
    former.writer.add(SHARDS, b"first claim", b"{}", owner=FIRST)
    former.turn()
    until(former.writer.is_committed, former.turn)
    # It left the group and does not know it: what it still sends must not take effect.
    former.group._on_revoked = lambda: False
    former.group.close()
    former.writer.add(SHARDS, b"late claim", b"{}", owner=FIRST)
    former.writer.seal({})
    until_true(lambda: former.writer.trouble or former.writer.is_committed())
    former.writer.close()
    assert [one.key() for one in kafka.read(SHARDS)] == [b"first claim"]


def test_shards_that_nobody_else_had_are_kept_and_notes_go_with_them(kafka: KafkaLog) -> None:
    first = claimed(ranker(kafka, "first"))
    assert (first.changes[0].shards_gained, first.changes[0].owned) == ((*range(COUNT),), ())
    first.writer.note(FIRST, "letters", "7")
    second = ranker(kafka, "second")
    both = [first, second]
    until(lambda: second.changes and len(first.changes) == 2, partial(turn, both))
    stayed, moved = first.changes[1], second.changes[0]
    half = (*range(COUNT // 2),)
    assert (stayed.shards_kept, stayed.shards_lost) == (half, (*range(COUNT // 2, COUNT),))
    assert (stayed.notes[FIRST], moved.shards_gained) == ({"letters": "7"}, stayed.shards_lost)
    until(lambda: all(one.is_done for one in both), partial(turn, both))
    second.close()
    until(lambda: len(first.changes) == 3 and first.is_done, first.turn)
    assert first.changes[2].shards_kept == half
    assert first.changes[2].shards_gained == moved.shards_gained
    first.close()
    heir = claimed(ranker(kafka, "heir"))
    assert heir.changes[0].notes[FIRST] == {"letters": "7"}
    heir.close()


def test_what_another_one_had_in_between_is_lost_and_gained() -> None:
    # As in a generation of the group that this member missed.
    before = AssignmentChange(1, gained=(0, 1), shards_gained=(0, 1))
    now = Membership("settled", partitions=frozenset((0, 1)), shards=frozenset((0, 1, 2)))
    places = [TopicPartition(topic, n) for topic in (POSTS, SHARDS) for n in range(3)]
    offsets = {at: PartitionOffsets(0, 0, 0, CommitMark()) for at in places}
    mine = {TopicPartition(POSTS, 1), FIRST}
    change = assignment_change(before, now, mine.issuperset, offsets, (POSTS,))
    assert (change.kept, change.lost, change.gained) == ((1,), (0,), (0,))
    assert (change.shards_kept, change.shards_lost, change.shards_gained) == ((0,), (1,), (1, 2))
    assert {at.topic for at in change.starts} == {POSTS}
