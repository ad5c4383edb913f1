"""Two workers that judge and rank share the partitions of a real Kafka; one comes and goes."""

import contextlib
import json
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import redis

from builders.events import post, signal
from builders.kafka_log import KafkaLog
from builders.waiting import in_background, now_ms, until
from feedmill.deploy.local import StackAddress
from feedmill.events.decode import encode
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
AT_ONCE = 200


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
    read, take = Counter[tuple[int, str]](), CombinerLogs._take

    def taken(logs: CombinerLogs, batch: RecordBatch) -> list[RejectedRecord]:
        read[id(logs._view), batch.source.topic] += len(batch.records)
        return take(logs, batch)

    monkeypatch.setattr(CombinerLogs, "_take", taken)
    sent = 0

    def send() -> int:
        nonlocal sent
        ids = [f"p{sent + i}" for i in range(AT_ONCE)]
        kafka.produce("posts", [(i.encode(), encode(post(i, created_at_ms=now_ms()))) for i in ids])
        sent += AT_ONCE
        return sent

    with running(kafka, stack, "stays") as (first, view):
        until(lambda: first.group.owned == (0, 1))
        for _ in range(3):
            send()
        until(lambda: is_whole(view, sent))
        for _ in range(2):
            with running(kafka, stack, "goes") as (second, other):
                until(lambda: len(first.group.owned) == len(second.group.owned) == 1)
                send()
                until(lambda: is_whole(view, sent) and is_whole(other, sent))
            until(lambda: first.group.owned == (0, 1))
            send()
            until(lambda: is_whole(view, sent))
        # Of what was sent while the other one had a partition, its part.
        for topic in ("posts", *(f"signals.{name}" for name in NAMES.all)):
            assert 0 < read[id(view), topic] < 2 * AT_ONCE
        assert view.early.dropped == 0


class ArmsInRedis:
    """What Redis has of the arms of one experiment in `global`, as a frontend reads it."""

    ARMS = (
        {"name": "a", "share": 4000},
        {"name": "again", "share": 3000, "control_copy": True},
        {"name": "b", "share": 3000, "weights": {"half_life_hours": None}},
    )
    VALUE: Mapping[str, object] = {
        "arms": ARMS,
        "feeds": ["global"],
        "salt": "s",
        "planned_n": 1000,
    }

    def __init__(self, url: str, prefix: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)
        feed = f"{prefix}feed:{{global}}"
        self._keys = [feed, f"{feed}:arm:one.again", f"{feed}:arm:one.b"]
        self.owners: set[str] = set()
        self.alike = self.unlike = 0

    def look(self) -> list[int]:
        """Compare a control with its copy, at one moment; how many posts each list has."""
        with self._client.pipeline(transaction=True) as pipe:
            for key in self._keys:
                pipe.zrange(key, 0, -1, withscores=True)
                pipe.hgetall(f"{key}:info")
            control, info, copy, info_of_copy, other, _ = pipe.execute()
        if info:
            assert json.loads(info.pop("experiment"))["name"] == "one"
            self.owners.add(info["owner"])
            is_alike = (control, info) == (copy, info_of_copy)
            self.alike, self.unlike = self.alike + is_alike, self.unlike + (not is_alike)
        return [len(control), len(copy), len(other)]

    def look_often(self, stop: threading.Event) -> None:
        while not stop.wait(0.002):
            self.look()

    def infos(self) -> list[object]:
        return [self._client.hgetall(f"{key}:info") for key in self._keys]


def believes(worker: Worker) -> str:
    """What a worker takes for true of what it reads, ranks and writes."""
    ranking = next(step for step in worker.steps if isinstance(step, RankingStep))
    view, handover, logs = ranking.combiner.view, ranking._handover, ranking._logs
    lists = {
        one.name: (len(one.list), len(one.written_rows), one.whole)
        for name in ranking.combiner.feeds
        for feed in [ranking.combiner.ranking(name)]
        for one in (feed, *getattr(feed, "_others", ()))
    }
    live = len(view.live_rows())
    return (
        f"reason {worker.status.ready_reason()!r}, owns {worker.group.owned}, {len(ranking.shards)}"
        f" shards, {live} posts, whole {is_whole(view, live)}, restored {logs.is_restored} with"
        f" {logs.lag()} ahead {logs.ready_reason()!r}, claim {ranking._claim.ready_reason()!r},"
        f" lists {lists}, has changes {ranking.combiner.has_changes}, on their way"
        f" {len(handover._submitted)}, refused {handover.refused_writes}, {handover.trouble!r}"
    )


def test_control_and_copy_are_alike_while_workers_take_over_from_each_other(
    kafka: KafkaLog, stack: StackAddress, prefix: str
) -> None:
    kafka.produce("config", [(b"experiments/one", encode({"value": ArmsInRedis.VALUE}))])
    arms, sent, workers = ArmsInRedis(stack.redis, prefix), 0, list[Worker]()

    def send() -> None:
        nonlocal sent
        for _ in range(40):
            ids = [f"p{sent + i}" for i in range(5)]
            posts = [post(i, author_id=i, created_at_ms=now_ms()) for i in ids]
            kafka.produce("posts", [(p.post_id.encode(), encode(p)) for p in posts])
            sent += 5
        try:
            until(lambda: arms.look() == [min(sent, 500)] * 3, 60.0)
        except AssertionError:
            state = "\n".join(map(str, [arms.look(), *arms.infos(), *map(believes, workers)]))
            pytest.fail(f"of {sent} posts Redis has, in control, copy and other arm:\n{state}")

    with in_background(arms.look_often), contextlib.ExitStack() as second_runs:
        with running(kafka, stack, "first", prefix) as (first, _):
            workers = [first]
            until(lambda: first.group.owned == (0, 1))
            send()
            second, _ = second_runs.enter_context(running(kafka, stack, "second", prefix))
            workers = [first, second]
            until(lambda: len(first.group.owned) == len(second.group.owned) == 1)
            send()
        workers = [second]
        send()
    assert arms.unlike == 0
    assert arms.alike > 100
    assert len(arms.owners) > 1
