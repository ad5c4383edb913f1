"""Who claims which shard of `feed-shards`, and what token that is worth."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord
from feedmill.streams.kafka.assignment import SHARDS, AssignmentChange
from feedmill.streams.kafka.batches import FetchedRecord, TopicPartition
from feedmill.streams.ranking import shard_claims
from feedmill.streams.ranking.shard_claims import Claim, ShardClaims, token_of

AT_MS = 1_700_000_000_000
TEN_YEARS_MS = 10 * 365 * 24 * 3_600_000


class Ranker:
    """Claims by a topic in memory, which it shares with others."""

    def __init__(self, name: str, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.topics, self.writer = FakeLog(topics), topics, KeptWriter()
        monkeypatch.setattr(shard_claims, "LogConsumer", lambda *_, **__: self.log)
        monkeypatch.setattr(shard_claims, "_POLL_EVERY_S", 0.0)
        monkeypatch.setattr(shard_claims, "_AGAIN_AFTER_S", 0.0)
        connection: Any = SimpleNamespace(environment=SimpleNamespace(instance=name))
        self.claim = ShardClaims(connection)
        self.epoch = 0
        self.shards: tuple[int, ...] = ()

    def assign(self, *shards: int, kept: tuple[int, ...] = ()) -> None:
        self.epoch += 1
        gained = tuple(shard for shard in shards if shard not in kept)
        lost = tuple(shard for shard in self.shards if shard not in kept)
        self.claim.assigned(
            AssignmentChange(self.epoch, shards_gained=gained, shards_lost=lost, shards_kept=kept)
        )
        self.shards = shards

    def turn(self, *, is_restored: bool = True) -> bool:
        return self.claim.claim(self.writer, is_restored=is_restored)

    def commit(self, at_ms: int) -> list[int]:
        """Have what it wrote be in the topic; the shards of it."""
        written, self.writer.added = self.writer.added, []
        for topic, key, value, owner in written:
            assert topic == SHARDS
            stored = self.topics.setdefault(owner, [])
            stored.append(StoredRecord(len(stored), at_ms, key, value))
        return [owner.partition for _, _, _, owner in written]


@pytest.fixture
def topics() -> Topics:
    return {TopicPartition(SHARDS, 2): [StoredRecord(0, AT_MS - 5, b"old/1", b"{}")]}


def above(ranker: Ranker) -> dict[int, int]:
    """By shard what each claim that it wrote is above."""
    claims = [
        (o.partition, msgspec.json.decode(v or b"", type=Claim))
        for _, _, v, o in ranker.writer.added
    ]
    return {shard: claim.above for shard, claim in claims}


def test_shards_are_claimed_together_once_all_is_read_each_for_a_token_of_its_own(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Ranker("one", topics, monkeypatch)
    assert one.claim.ready_reason() == ""
    assert not one.turn()
    one.assign(1, 2, 5)
    assert one.claim.is_wanted
    assert one.claim.ready_reason() == "claiming shards of feeds"
    one.turn(is_restored=False)
    assert one.writer.added == []
    one.turn()
    assert above(one) == {1: 0, 2: AT_MS - 5, 5: 0}
    assert one.commit(AT_MS) == [1, 2, 5]
    assert not one.claim.tokens
    topics[TopicPartition(SHARDS, 2)][-1] = StoredRecord(
        1, AT_MS + 3, topics[TopicPartition(SHARDS, 2)][-1].key, b"{}"
    )
    assert one.turn()
    assert one.claim.tokens == {1: AT_MS, 2: AT_MS + 3, 5: AT_MS}
    assert one.claim.is_whole
    assert one.claim.ready_reason() == ""
    # From here on nothing of it is read, and nothing is claimed again.
    assert one.log.positions() == {}
    assert not one.turn()
    assert one.writer.added == []


def test_kept_shards_keep_their_tokens_and_gained_ones_are_claimed_above_all_before(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Ranker(name, topics, monkeypatch) for name in ("one", "two"))
    one.assign(1, 2)
    one.turn(), one.commit(AT_MS), one.turn()
    one.assign(1, 3, kept=(1,))
    assert one.claim.tokens == {1: AT_MS}
    assert not one.claim.is_whole
    two.assign(2)
    one.turn(), two.turn()
    # By a broker whose clock was put back.
    assert one.commit(AT_MS - 9_000) == [3]
    assert two.commit(AT_MS - 9_000) == [2]
    one.turn(), two.turn()
    assert one.claim.tokens == {1: AT_MS, 3: AT_MS - 9_000}
    assert two.claim.tokens == {2: AT_MS + 1}
    one.assign()
    assert one.claim.tokens == {}
    assert not one.claim.is_wanted
    # A claim that is on its way when its shard is kept is not made twice.
    two.assign(2, 1, kept=(2,))
    two.turn()
    two.assign(2, 1, kept=(1, 2))
    two.turn()
    assert two.commit(AT_MS) == [1]
    two.turn()
    assert two.claim.tokens == {1: AT_MS + 1, 2: AT_MS + 1}


def test_a_shard_of_which_redis_has_a_higher_token_is_claimed_again_and_no_other(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Ranker("one", topics, monkeypatch)
    one.assign(1, 2)
    one.turn(), one.commit(AT_MS), one.turn()
    assert not one.claim.outdone({1: AT_MS, 7: AT_MS + 500})
    assert one.claim.outdone({1: AT_MS + 500, 7: AT_MS + 500})
    assert one.claim.tokens == {2: AT_MS}
    one.turn()
    assert above(one) == {1: AT_MS + 500}
    assert one.commit(AT_MS + 1) == [1]
    one.turn()
    assert one.claim.tokens == {1: AT_MS + 501, 2: AT_MS}
    assert not one.claim.outdone({1: AT_MS + 500})


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b'{"instance": "one", "above": 5}', AT_MS),
        (b'{"instance": "one", "above": 1700000000000}', AT_MS + 1),
        (b'{"instance": "one", "above": 1800000000000}', 1_800_000_000_001),
        # What Redis' index cannot hold, and what is no claim.
        (b'{"instance": "one", "above": 140737488355328}', AT_MS),
        # Ten years on a claim is believed, and what would end the shard is not.
        (b'{"instance": "one", "above": %d}' % (AT_MS + TEN_YEARS_MS), AT_MS + TEN_YEARS_MS + 1),
        (b'{"instance": "one", "above": %d}' % (AT_MS + TEN_YEARS_MS + 1), AT_MS),
        (b'{"instance": "one", "above": %d}' % (2**47 - 2), AT_MS),
        (b'{"instance": "one", "above": "1800000000000"}', AT_MS),
        (b"one", AT_MS),
        (None, AT_MS),
    ],
)
def test_a_token_is_the_time_of_the_claim_or_above_those_before(
    value: bytes | None, token: int
) -> None:
    assert token_of(FetchedRecord(0, AT_MS, b"one/1", value)) == token
