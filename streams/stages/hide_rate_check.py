"""The flagged shares of an instance's partitions, and the alarm where one is too high."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from feedmill.events.decode import decode_post
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.filters.hide_rate_guard import (
    WINDOW_RECORDS,
    HideLimit,
    HideRates,
    ScoredPost,
    hide_limit,
    over_limit,
    sources_of,
)
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.kafka.validation import validate_batch
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.environment import Environment

log = logging.getLogger(__name__)

Score = Callable[[Sequence[Post]], BatchVerdicts]
# An alarm ends below this part of the cap, so that it does not come and go with every post.
_OVER_BELOW = 0.8
_NEVER = 2.0


class HideRateGuard:
    """The running check of one filter in one process.

    `follow` on assignment, `settings_changed` between batches, `lower` for every batch.
    """

    def __init__(self, name: str, environment: Environment, metrics: Metrics, score: Score) -> None:
        self._name = name
        self._environment = environment
        self._metrics = metrics
        self._score = score
        self._cap = environment.flagged_cap
        self._ceiling: HideLimit | None = None
        self._shares: dict[int, HideRates] = {}
        self._through: dict[int, int] = {}
        self._alarms: set[str] = set()

    def settings_changed(self, settings: Settings) -> None:
        """Follow the thresholds that are in force."""
        self._ceiling = hide_limit(settings, self._name)
        for shares in self._shares.values():
            shares.set_flagged_at(self._flagged_at)

    @property
    def _flagged_at(self) -> float:
        return _NEVER if self._ceiling is None else self._ceiling.hide_at

    async def follow(self, starts: Mapping[TopicPartition, int]) -> None:
        """Have these partitions, judged from these offsets on; judge the window before again."""
        kept, missing = {}, {}
        for source, start in starts.items():
            if self._through.get(source.partition) == start:
                kept[source.partition] = self._shares[source.partition]
            else:
                missing[source] = start
        self._shares = kept
        for source, start in missing.items():
            self._shares[source.partition] = HideRates(self._flagged_at, self._cap)
            if start > 0:
                await self._read_window(source, start)
        self._through = {source.partition: start for source, start in starts.items()}
        self._tell({})

    def lower(
        self,
        batch: RecordBatch,
        rows: Iterable[int],
        posts: Sequence[tuple[Record, Post]],
        said: BatchVerdicts,
    ) -> None:
        """Fold one batch's posts, at these rows, in order; lower what must not hide."""
        partition = batch.source.partition
        over: dict[str, float] = {}
        lowered: dict[int, tuple[float, str]] = {}
        known, judged = _judged(rows, posts, said)
        at = self._ceiling or HideLimit(_NEVER, _NEVER)
        for i, source, share in over_limit(judged, self._shares[partition], at):
            over[source] = share
            lowered[known[i]] = (at.lowered, f"capped: {source} has {share:.0%} flagged")
        said.lower(lowered)
        self._through[partition] = batch.end
        if lowered:
            self._metrics.add("feedmill_capped_total", len(lowered))
        self._tell(over)

    def _tell(self, over: Mapping[str, float]) -> None:
        """Say which sources began and ended to be over the cap; their names, never a text."""
        for source in over.keys() - self._alarms:
            self._alarms.add(source)
            log.warning(
                "%s flags %.0f %% of %s, more than %.0f %%: it demotes there instead of hiding",
                self._name, 100 * over[source], source, 100 * self._cap,
            )  # fmt: skip
        for source in tuple(self._alarms):
            if not any(s.is_over(source, _OVER_BELOW) for s in self._shares.values()):
                self._alarms.discard(source)
                log.warning("%s no longer flags too much of %s", self._name, source)
        self._metrics.set("feedmill_capped_sources", len(self._alarms))

    async def _read_window(self, source: TopicPartition, start: int) -> None:
        reader = LogReader(self._environment, [source.topic], [source.partition], max_records=500)
        await reader.start({source: max(0, start - WINDOW_RECORDS)})
        try:
            while await reader.position(source) < start:
                for batch in await reader.read():
                    self._judge_again(batch, start, reader.partitions[source.topic])
                    await asyncio.sleep(0)
        finally:
            await reader.stop()

    def _judge_again(self, batch: RecordBatch, start: int, partitions: int) -> None:
        records = [record for record in batch.records if record.offset < start]
        admitted = validate_batch(RecordBatch(batch.source, records), partitions, decode_post)
        posts = [(record, event) for record, event in admitted.events if isinstance(event, Post)]
        if posts:
            said = self._score([post for _, post in posts])
            _, judged = _judged(range(len(posts)), posts, said)
            for one in judged:
                self._shares[batch.source.partition].fold(one)


def _judged(
    rows: Iterable[int], posts: Sequence[tuple[Record, Post]], said: BatchVerdicts
) -> tuple[list[int], list[ScoredPost]]:
    """Those of the rows that have a value, and their posts as the shares take them."""
    known = [i for i in rows if i not in said.errors]
    judged = [
        ScoredPost(record.offset, record.timestamp, sources_of(post), float(said.values[i]))
        for i, (record, post) in ((i, posts[i]) for i in known)
    ]
    return known, judged
