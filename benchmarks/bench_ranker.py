"""What one ranker takes a second, and where its processor time goes: no Kafka, no Redis.

    python benchmarks/bench_ranker.py [--posts 1000000] [--feeds 0,10000] [--changes 50000]
    python benchmarks/bench_ranker.py --redis       # writes to a Redis of its own, else to none
    python benchmarks/bench_ranker.py --rankers 2   # the one of two that has `global`

The log in memory has what judges write: signals of engagement of posts drawn by Zipf's law, those
that feeds show first most often, and a new post with its first signals for every 40 of them.  It is
read and ranked as a worker that ranks does it when much waits: a slice of records, all that follows
of it, the batch for Redis.  Redis' writer makes all its commands; what it sends is dropped.
Processor time of each leg by record; `rest` is what `work` does beside the others.
Before it is measured, the lists are compared with those that sorting all gives.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import large_view
import numpy as np
import numpy.typing as npt
from bench_ranking import check
from large_view import NAMES, NOW_MS, WRITTEN, filled, post_id, records_of, settings_of
from machine import describe
from own_redis import own_redis

from feedmill.events.decode import decode_posts, decode_signals, encode
from feedmill.events.partition import ALL_SHARDS, SHARDS, shard_of
from feedmill.events.signal import Signal
from feedmill.rankers.combiner import Combiner
from feedmill.streams.kafka.batches import FetchedRecords, RecordBatch, TopicPartition
from feedmill.streams.kafka.validation import decode_together
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import CommandPipeline, Pipeline, _pack, open_pipeline
from feedmill.streams.redis.scripts import WRITE_FEED, Command
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport

LEGS = ("decode", "view", "scores", "lists", "rest", "feeds", "fields", "commands")
ENGAGEMENTS_A_POST = 40
TOKEN = 1
TOKENS = dict.fromkeys(ALL_SHARDS, TOKEN)
VERSION = "8c0e79cc3075"
Floats = npt.NDArray[np.float64]
# How far a signal of engagement moves at once, in natural logarithms.
_STEP = 0.05


class Legs:
    """Processor time of calls, without that of the calls within them."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(LEGS, 0.0)
        self._within: list[float] = [0.0]

    def of(self, leg: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self._within.append(0.0)
            start = time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                took = time.thread_time() - start
                self.seconds[leg] += took - self._within.pop()
                self._within[-1] += took

        return timed

    def watch(self, owner: object, method: str, leg: str) -> None:
        """Time a method of an object wherever it is called."""
        setattr(owner, method, self.of(leg, getattr(owner, method)))


class NoRedis(CommandPipeline):
    """Packs commands and drops them; every one is answered as one that was written."""

    def __init__(self) -> None:
        self._version = 0

    def execute(self, commands: Sequence[Command], waves: Iterable[int] = ()) -> list[Any]:
        assert _pack(commands)
        self._version += 1
        return [(1, self._version) if WRITE_FEED.sha1 in one else 1 for one in commands]

    def close(self) -> None:
        pass


class Log:
    """Batches of records, as a consumer hands them out: signals of engagement, and new posts."""

    def __init__(
        self, values: dict[str, npt.NDArray[np.float32]], scores: npt.NDArray[Any]
    ) -> None:
        self._rng = np.random.default_rng(11)
        self._values = values
        self._count = len(scores)
        noise = self._rng.normal(0, float(np.std(scores)), len(scores))
        self._by_popularity = np.argsort(-(scores + noise))
        self._weights = 1 / np.arange(1, len(scores) + 1)
        self._cumulated = np.cumsum(self._weights)
        self._revision = 0

    def cycle(self, records: int) -> list[RecordBatch]:
        """So many records, each of another post."""
        new = max(1, records // (ENGAGEMENTS_A_POST + 1 + len(WRITTEN)))
        engaged = self._drawn(records - new * (1 + len(WRITTEN)))
        factors = np.exp(self._rng.normal(0, _STEP, len(engaged)))
        engagement = self._values["engagement"]
        engagement[engaged] = np.minimum(engagement[engaged] * factors, 1)
        self._revision += 1
        first = self._count
        self._count += new
        topics = ("posts", *(f"signals.{name}" for name in WRITTEN))
        batches = {topic: FetchedRecords() for topic in topics}
        for number in range(first, self._count):
            drawn = {name: self._rng.beta(1, 12, 1).astype(np.float32) for name in WRITTEN}
            post, signals = records_of(number, NOW_MS, drawn, at=0)
            self._add(batches["posts"], number, encode(post))
            for name, signal in signals.items():
                self._add(batches[f"signals.{name}"], number, encode(signal))
        for number in engaged.tolist():
            signal = Signal(
                post_id(number),
                number,
                float(engagement[number]),
                "engagement",
                VERSION,
                NOW_MS + self._revision,
                revision=self._revision,
            )
            self._add(batches["signals.engagement"], number, encode(signal))
        return [
            RecordBatch(TopicPartition(topic, 0), records) for topic, records in batches.items()
        ]

    def _drawn(self, count: int) -> npt.NDArray[np.int64]:
        """So many posts, drawn until they are that many: a judge writes one signal of each."""
        found: dict[int, None] = {}
        while len(found) < count:
            drawn = self._rng.random(2 * count) * self._cumulated[-1]
            places = np.searchsorted(self._cumulated, drawn)
            found.update(dict.fromkeys(self._by_popularity[places].tolist()))
        return np.array(list(found)[:count])

    def _add(self, records: FetchedRecords, number: int, value: bytes) -> None:
        records.offsets.append(number)
        records.timestamps.append(NOW_MS)
        records.keys.append(post_id(number).encode())
        records.values.append(value)


class Ranker:
    """A combiner, what it reads, and Redis' writer."""

    def __init__(self, combiner: Combiner, pipeline: Pipeline) -> None:
        self.combiner = combiner
        self.legs = legs = Legs()
        self.changed_feeds = 0
        self._writer = BatchWriter(pipeline, "")
        self._decode = legs.of("decode", decode_together)
        self._write = legs.of("commands", self._writer.write)
        view = combiner.view
        legs.watch(view, "update_posts", "view")
        legs.watch(view, "update_signals", "view")
        legs.watch(combiner._policies, "update", "scores")
        legs.watch(combiner._live, "update", "lists")
        legs.watch(combiner, "_take_feeds", "feeds")
        legs.watch(combiner, "take", "fields")
        legs.watch(combiner, "work", "rest")

    def cycle(self, batches: Sequence[RecordBatch]) -> None:
        """Read, rank, hand over."""
        view = self.combiner.view
        for batch in batches:
            topic = batch.source.topic
            name = topic.removeprefix("signals.")
            decode = decode_posts if topic == "posts" else partial(decode_signals, name, NAMES)
            events = self._decode(batch, 1, decode)
            records = cast("FetchedRecords", batch.records)
            if topic == "posts":
                view.update_posts(events, records.offsets, records.timestamps)
            else:
                view.update_signals(name, events)
        self.hand_over()

    def hand_over(self) -> None:
        """Rank, and write what changed."""
        combiner, report = self.combiner, WriteReport()
        assert not combiner.work(NOW_MS)
        changes = combiner.take(NOW_MS)
        fresh = {one.feed for one in changes.feeds}
        batch = WriteBatch(
            NOW_MS, TOKENS, changes.signals, changes.feeds, changes.removed_feeds, fresh
        )
        unwritten = self._write(batch, report)
        assert not unwritten
        self.changed_feeds += len(changes.feeds)


def measure(
    posts: int, feeds: int, changes: int, records: int, pipeline: Pipeline, rankers: int
) -> None:
    """Print a line of one size."""
    combiner, values = filled(posts, found=posts)
    combiner.apply(settings_of(feeds))
    part = shard_of("global") * rankers // SHARDS
    combiner.own({shard for shard in ALL_SHARDS if shard * rankers // SHARDS == part})
    ranker = Ranker(combiner, pipeline)
    combiner.work(NOW_MS)
    check(combiner, NOW_MS)
    scores = combiner.ranking("global").scores.score.values[:posts].copy()
    log = Log(values, np.where(scores > -np.inf, scores, scores[scores > -np.inf].min()))
    if not isinstance(pipeline, NoRedis):
        combiner.rewrite_all()
    while combiner.has_changes:
        # To nowhere it counts as written, and takes long.
        if isinstance(pipeline, NoRedis):
            combiner.take(NOW_MS)
        else:
            ranker.hand_over()
    gc.collect()
    gc.freeze()
    ranker.cycle(log.cycle(records))
    feeds_before, count, found = ranker.changed_feeds, 0, []
    for _ in range(changes // records):
        batches = log.cycle(records)
        of_cycle = sum(len(batch.records) for batch in batches)
        ranker.legs.seconds = dict.fromkeys(LEGS, 0.0)
        ranker.cycle(batches)
        found.append([seconds / of_cycle * 1e6 for seconds in ranker.legs.seconds.values()])
        count += of_cycle
    check(combiner, NOW_MS)
    # By the cycle: where others have the processor, some take far longer.
    each, total = np.median(found, 0), float(np.median(np.sum(found, 1)))
    print(
        f"{posts:>10,}{len(combiner.feeds):>8,}{records:>7,}{''.join(f'{us:9.1f}' for us in each)}"
        f"{total:9.1f}{1e6 / total:>10,.0f}{(ranker.changed_feeds - feeds_before) / count:>8.2f}",
        flush=True,
    )
    gc.unfreeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--posts", default="100000,1000000")
    parser.add_argument("--feeds", default="0,10000", help="declared beside the others")
    parser.add_argument("--changes", type=int, default=50_000, help="records that are read")
    parser.add_argument("--records", default="1000", help="in a slice")
    parser.add_argument("--rankers", type=int, default=1, help="which share the shards")
    parser.add_argument("--redis", action="store_true", help="write to a Redis of its own")
    given = parser.parse_args()
    print(describe())
    large_view.check()
    legs = "".join(f"{leg:>9}" for leg in LEGS)
    figures = f"{'µs each':>9}{'a second':>10}{'f. each':>8}"
    print(f"{'posts':>10}{'feeds':>8}{'slice':>7}{legs}{figures}")
    for posts in map(int, given.posts.split(",")):
        for feeds in map(int, given.feeds.split(",")):
            for records in map(int, given.records.split(",")):
                if given.redis:
                    with own_redis() as url:
                        pipeline = open_pipeline(url)
                        measure(posts, feeds, given.changes, records, pipeline, given.rankers)
                        pipeline.close()
                else:
                    measure(posts, feeds, given.changes, records, NoRedis(), given.rankers)


if __name__ == "__main__":
    main()
