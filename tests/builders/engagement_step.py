"""An engagement step without Kafka: it owns partition 0, and shows what it writes."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.fake_log import FakeLog, KeptWriter
from builders.records import StoredRecord, record, record_batch
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Post
from feedmill.features.counters import Counters
from feedmill.features.post_batch import PostBatch
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.streams.engagement import engagement_restore
from feedmill.streams.engagement.burst_damping import MINUTE_MS
from feedmill.streams.engagement.engagement import EngagementStep
from feedmill.streams.engagement.packed_states import PostState, decode_state
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

NOW_MS = 1_700_000_000_000
PRIOR = 0.25
COUNTERS, ENGAGEMENTS = TopicPartition("counters", 0), TopicPartition("engagements", 0)


def count_partitions(topic: str, stopping: object, *, needs: str = "Read") -> int:
    """Every topic exists."""
    return 1


class LikesOverImpressions:
    """A model whose scores are plain to see."""

    name, version = "engagement", "v1"

    def prior_batch(self, batch: PostBatch) -> np.ndarray:
        return np.full(len(batch), PRIOR)

    def score_many(self, priors: np.ndarray, counters: Sequence[Counters]) -> np.ndarray:
        return np.array(
            [
                c.counts[2] / c.counts[0] if c.counts[0] else p
                for p, c in zip(priors, counters, strict=True)
            ]
        )


class Running:
    """A step that owns partition 0, with the logs it restores from and a clock of our own.

    With `ahead` it reads so many of the counters before it gets the partition, unless another does.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        counters: Sequence[StoredRecord] = (),
        engagements: Sequence[StoredRecord] = (),
        start: int = 0,
        *,
        ends_with_markers: bool = False,
        feature_share: float = 0.0,
        ahead: int | None = None,
        owns: bool = True,
    ) -> None:
        self.now_ms = float(NOW_MS)
        clock = LogClock(lambda: self.now_ms)
        clock.stamp(NOW_MS)
        self.metrics = Metrics("engagement", "test")
        topics = {COUNTERS: list(counters[:ahead]), ENGAGEMENTS: list(engagements)}
        ends = {ENGAGEMENTS: start} if ends_with_markers else {}
        self.logs: list[FakeLog] = []

        def open_log(*_: object, **__: object) -> FakeLog:
            self.logs.append(FakeLog(topics, ends=ends))
            return self.logs[-1]

        monkeypatch.setattr(engagement_restore, "LogConsumer", open_log)
        self.step = EngagementStep(lambda: cast(ExpectedClicks, LikesOverImpressions()))
        environment = Environment(user_window=1_000, feature_share=feature_share)
        offsets = SimpleNamespace(partition_count=count_partitions)
        connection = cast(Any, SimpleNamespace(environment=environment, offsets=offsets))
        self.step.start(StepContext(connection, clock, self.metrics, 1))
        if ahead is not None:
            self.step.prepare(AssignmentChange(0, gained=(0,)))
            while not self.step.status().may_join:
                self.step.poll(KeptWriter())
            topics[COUNTERS] += counters[ahead:]
        end = start if ends_with_markers else start + len(engagements)
        change = AssignmentChange(
            1, gained=(0,) * owns, starts={ENGAGEMENTS: start}, ends={ENGAGEMENTS: end}
        )
        self.step.on_assigned(change)
        for _ in range(10):
            self.step.poll(KeptWriter())

    def apply(
        self, posts: Sequence[StoredRecord] = (), engagements: Sequence[StoredRecord] = ()
    ) -> dict[tuple[str, str], bytes | None]:
        """What a cycle writes, by topic and key."""
        work = decode_work(
            [record_batch("posts", posts)] if posts else [],
            [record_batch("engagements", engagements)] if engagements else [],
            partitions=1,
            now_ms=int(self.now_ms),
        )
        assert not work.rejected
        writer = KeptWriter()
        self.step.apply(work, writer)
        assert {owner for *_, owner in writer.added} <= {TopicPartition("posts", 0)}
        return {(topic, (key or b"").decode()): value for topic, key, value, _ in writer.added}

    def count(self, metric: str) -> float:
        page = self.metrics.text()
        lines = [line for line in page.splitlines() if line.startswith(metric + "{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def post(post_id: str, offset: int, at_ms: int = NOW_MS) -> StoredRecord:
    return record(post_id, Post(post_id, "author", at_ms, "text"), offset=offset, timestamp=at_ms)


def deletion(post_id: str, offset: int) -> StoredRecord:
    return record(post_id, None, offset=offset, timestamp=NOW_MS)


def event(
    post_id: str,
    kind: EngagementKind,
    offset: int,
    at_ms: int = NOW_MS,
    event_id: str | None = None,
    user: str | None = None,
) -> StoredRecord:
    """By a user of its own unless told otherwise."""
    content = Engagement(post_id, user or f"user-{offset}", kind, at_ms, event_id)
    return record(post_id, content, offset=offset, timestamp=at_ms)


def state_of(written: dict[tuple[str, str], bytes | None], post_id: str) -> PostState:
    value = written["counters", post_id]
    assert value is not None
    return decode_state(value)


def value_of(written: dict[tuple[str, str], bytes | None], post_id: str) -> Any:
    value = written["signals.engagement", post_id]
    assert value is not None
    return json.loads(value)


def record_of(post_id: str, value: bytes | None, offset: int = 0) -> StoredRecord:
    return StoredRecord(offset, NOW_MS, post_id.encode(), value)


def new_accounts(kind: EngagementKind, first: int, count: int) -> list[StoredRecord]:
    """So many events of one kind by as many users, within 50 seconds of the next minute."""
    start_ms = (NOW_MS // MINUTE_MS + 1) * MINUTE_MS
    return [event("p", kind, first + i, start_ms + i * 50_000 // count) for i in range(count)]
