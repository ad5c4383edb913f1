"""Two workers that judge and rank share the partitions of a real Kafka; one comes and goes."""

import contextlib
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from builders.events import post, signal
from builders.kafka_log import KafkaLog
from builders.waiting import now_ms, until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.ranking.combiner_logs import CombinerLogs
from feedmill.streams.ranking.ranking import RankingStep
from feedmill.streams.worker.step import Step, WorkBatch, Writer, WrittenSignal
from feedmill.streams.worker.worker import Worker

pytestmark = pytest.mark.stack

NAMES = SignalNames()
AT_ONCE, FEW = 200, 20


@pytest.fixture
def kafka(stack: StackAddress, prefix: str) -> KafkaLog:
    return KafkaLog.created(stack.kafka, prefix, ranks=True)


class JudgingStep(Step):
    """Writes every signal of each post."""

    name = "judge"

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        for partition, record, event, _ in work.latest:
            source = TopicPartition("posts", partition)
            for name in NAMES.all:
                verdict = signal(event.post_id, record.offset, 0.1)
                key = event.post_id.encode()
                writer.add(f"signals.{name}", key, encode(verdict), owner=source)
                work.signals.append(WrittenSignal(name, event.post_id, verdict))


@contextlib.contextmanager
def running(
    kafka: KafkaLog, stack: StackAddress, name: str, prefix: str = ""
) -> Iterator[tuple[Worker, PostView]]:
    """A worker in a thread, and its view."""
    environment = replace(kafka.named(name), redis=stack.redis, redis_prefix=prefix or name)
    ranking = RankingStep(environment, NAMES.all)
    worker = Worker(environment, [JudgingStep(), ranking])
    ended_by: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - told below, and asserted
            traceback.print_exc()  # pytest would only warn, and not where the test fails
            ended_by.append(error)

    loop = threading.Thread(target=run)
    loop.start()
    try:
        yield worker, ranking.combiner.view
    finally:
        worker.stopping.set()
        loop.join(20)
    assert not loop.is_alive()
    assert ended_by == []


def is_whole(view: PostView, count: int) -> bool:
    """Whether all posts are there, and each has all of its signals."""
    rows = view.live_rows()
    return len(rows) == count and all(c.is_current(rows).all() for c in view.signals.values())


def test_who_comes_and_goes_makes_nobody_read_again_what_the_view_has(
    kafka: KafkaLog, stack: StackAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, take = Counter[tuple[int, str]](), CombinerLogs._decode

    def taken(logs: CombinerLogs, batch: RecordBatch) -> list[RejectedRecord]:
        read[id(logs._view), batch.source.topic] += len(batch.records)
        return take(logs, batch)

    monkeypatch.setattr(CombinerLogs, "_decode", taken)
    sent = 0

    def send(count: int = AT_ONCE) -> None:
        nonlocal sent
        ids = [f"p{sent + i}" for i in range(count)]
        kafka.produce("posts", [(i.encode(), encode(post(i, created_at_ms=now_ms()))) for i in ids])
        sent += count

    with running(kafka, stack, "stays") as (first, view):

        def is_alone() -> bool:
            """Whether it has claimed all shards: then what others wrote is read to its end."""
            return first.group.owned == (0, 1) and len(first.steps[1].status().shards) == len(
                ALL_SHARDS
            )

        def commit_all() -> None:
            until(lambda: is_whole(view, sent) and first.writer.is_committed())

        until(is_alone)
        for _ in range(3):
            send()
        for _ in range(2):
            # What is known to be written ends within the last transaction: a small one.
            commit_all()
            send(FEW)
            commit_all()
            with running(kafka, stack, "goes") as (second, other):
                until(lambda: len(first.group.owned) == len(second.group.owned) == 1)
                send()
                until(lambda: is_whole(view, sent) and is_whole(other, sent))
            until(is_alone)
            send()
        commit_all()
        # Of what was sent while the other one had a partition, its part.
        for topic in ("posts", *(f"signals.{name}" for name in NAMES.all)):
            assert 0 < read[id(view), topic] < 2 * AT_ONCE
        assert view.early.dropped == 0
