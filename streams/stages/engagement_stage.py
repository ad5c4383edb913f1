"""The engagement stage: counts what people do with each post, and says what to expect of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import numpy as np

from feedmill.events.decode import decode_engagement, decode_post, encode
from feedmill.events.errors import UsageError
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.rankers.engagement import EngagementModel
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.kafka.topics import WINDOW_MS
from feedmill.streams.kafka.validation import RejectedRecord, validate_batch
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.engagement_state import (
    DEDUPLICATED_MS,
    NO_OFFSET,
    PartitionState,
    PostState,
    RecentEvents,
    encode_state,
)
from feedmill.streams.stages.group_stage import GroupStage

log = logging.getLogger(__name__)

ENGAGEMENTS, POSTS, COUNTERS = "engagements", "posts", "counters"
SIGNAL = "signals.engagement"
_PRUNE_EVERY_S = 600.0


class EngagementStage(GroupStage):
    """Folds `engagements` into `counters`, and writes `signals.engagement`.

    What it writes comes in this order: signals, acknowledged; then counters, acknowledged;
    then the offsets.  Whatever it dies between, the next owner does the rest again.
    """

    topics = (POSTS, ENGAGEMENTS)

    def __init__(
        self, name: str, environment: Environment, load: Callable[[], EngagementModel]
    ) -> None:
        super().__init__(name, environment)
        self._load = load
        self._partitions: dict[int, PartitionState] = {}
        self._epoch = 0

    async def prepare(self) -> None:
        self._model = self._load()
        self.models = {self.name: self._model.version}
        counts = {topic: await self.producer.partitions(topic) for topic in self.topics}
        if len(set(counts.values())) > 1:
            raise UsageError(
                f"`posts` and `engagements` must have equally many partitions, got {counts}: "
                "create them anew under another FEEDMILL_TOPIC_PREFIX"
            )
        self._count = counts[POSTS]
        await super().prepare()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*super().tasks(), self._prune()]

    async def take_over(self) -> None:
        await self._follow_assignment()

    async def process(self, batches: Sequence[RecordBatch]) -> None:
        await self._follow_assignment()
        batches = [batch for batch in batches if batch.epoch == self._epoch]
        touched: dict[str, PostState] = {}
        deleted: dict[str, None] = {}
        for batch in batches:
            state = self._partitions[batch.source.partition]
            if batch.source.topic == POSTS:
                self._take_posts(batch, state, touched, deleted)
            else:
                self._take_engagements(batch, state, touched)
        self._signal(touched.values(), deleted)
        await self.producer.flush()
        for post_id in deleted:
            self.producer.add(COUNTERS, post_id.encode(), None)
        for post_id, one in touched.items():
            self.producer.add(COUNTERS, post_id.encode(), encode_state(one))

    def _take_posts(
        self,
        batch: RecordBatch,
        state: PartitionState,
        touched: dict[str, PostState],
        deleted: dict[str, None],
    ) -> None:
        admitted = validate_batch(batch, self._count, decode_post)
        self._reject(batch, admitted.rejected)
        fresh: dict[str, tuple[Record, Post]] = {}
        for record, event in admitted.events:
            if isinstance(event, Deletion):
                known = state.posts.get(event.post_id)
                if known is not None and known.post_offset > record.offset:
                    continue  # read again after a crash; the post is there again since
                fresh.pop(event.post_id, None)
                touched.pop(event.post_id, None)
                state.posts.pop(event.post_id, None)
                deleted[event.post_id] = None
            else:
                fresh[event.post_id] = (record, event)
        posts = [post for _, post in fresh.values()]
        priors = self._priors(posts)
        for (record, post), prior in zip(fresh.values(), priors.tolist(), strict=True):
            one = state.post(post.post_id)
            if record.offset > one.post_offset:
                one.post_offset, one.prior = record.offset, prior
                one.at_ms = max(one.at_ms, record.timestamp)
                touched[post.post_id] = one
                deleted.pop(post.post_id, None)

    def _take_engagements(
        self, batch: RecordBatch, state: PartitionState, touched: dict[str, PostState]
    ) -> None:
        admitted = validate_batch(batch, self._count, decode_engagement)
        self._reject(batch, admitted.rejected)
        duplicates = 0
        for record, event in admitted.events:
            one = state.count(event, record)
            if one is None:
                duplicates += 1
            else:
                touched[event.post_id] = one
        if duplicates:
            self.metrics.add("feedmill_duplicates_total", duplicates)

    def _reject(self, batch: RecordBatch, rejected: Sequence[RejectedRecord]) -> None:
        if rejected:
            self.letters.add(rejected)
            topic = batch.source.topic
            self.metrics.add("feedmill_rejected_total", len(rejected), topic=topic)
            self.metrics.add("feedmill_letters_total", len(rejected))

    def _priors(self, posts: Sequence[Post]) -> np.ndarray:
        """What to expect of posts that nobody has seen; 0 where the model fails."""
        if not posts:
            return np.zeros(0)
        try:
            return self._model.prior_many(posts)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            log.warning("the prior failed on a batch of %d: %r", len(posts), error)
        priors = np.zeros(len(posts))
        for i, post in enumerate(posts):
            try:
                priors[i] = self._model.prior_many([post])[0]
            except Exception:  # noqa: BLE001 - counted; the post starts from 0
                self.metrics.add("feedmill_model_errors_total")
        return priors

    def _signal(self, states: Iterable[PostState], deleted: Iterable[str]) -> None:
        for post_id in deleted:
            self.producer.add(SIGNAL, post_id.encode(), None)
        known = [one for one in states if one.post_offset != NO_OFFSET]
        if not known:
            return
        at_ms = now_ms()
        values, errors = self._score(known)
        for i, one in enumerate(known):
            signal = Signal(
                post_id=one.post_id,
                post_offset=one.post_offset,
                value=None if i in errors else float(np.float32(values[i])),
                model=self._model.name,
                version=self._model.version,
                at_ms=at_ms,
                error=errors.get(i),
            )
            self.producer.add(SIGNAL, one.post_id.encode(), encode(signal))

    def _score(self, states: Sequence[PostState]) -> tuple[np.ndarray, dict[int, str]]:
        priors = np.array([one.prior for one in states])
        try:
            return self._model.score_many(priors, [one.counters for one in states]), {}
        except Exception as error:  # noqa: BLE001 - said in the signals; the last good ones hold
            log.warning("model %s failed on %d posts: %r", self._model.name, len(states), error)
            self.metrics.add("feedmill_model_errors_total", len(states))
            reason = f"{type(error).__name__}: {error}"[:500]
            return np.zeros(len(states)), dict.fromkeys(range(len(states)), reason)

    async def _follow_assignment(self) -> None:
        """After a rebalance, restore what the new partitions' former owners left."""
        epoch = self.app.epoch
        if epoch == self._epoch:
            return
        held = {source.partition for source in self.app.ledger.done}
        # A partition that stayed may have been another's in between: all are restored.
        self._partitions = await self._restore(sorted(held)) if held else {}
        self._epoch = epoch

    async def _restore(self, partitions: Sequence[int]) -> dict[int, PartitionState]:
        states = {partition: PartitionState() for partition in partitions}
        reader = LogReader(self.environment, [COUNTERS], partitions)
        await reader.start()
        try:
            for batch in await reader.read_to_end():
                state = states[batch.source.partition]
                for post_id in state.restore(batch.records):
                    one = state.posts[post_id]
                    self.producer.add(COUNTERS, post_id.encode(), encode_state(one))
        finally:
            await reader.stop()
        await self._refuse_recreated(states)
        await self._read_recent(states)
        log.info(
            "restored %d posts of partitions %s",
            sum(len(state.posts) for state in states.values()),
            list(partitions),
        )
        return states

    async def _refuse_recreated(self, states: dict[int, PartitionState]) -> None:
        sources = [TopicPartition(ENGAGEMENTS, partition) for partition in states]
        ends = await self.config.reader.end_of(sources)
        for partition, state in states.items():
            end = ends[TopicPartition(ENGAGEMENTS, partition)]
            beyond = [one.post_id for one in state.posts.values() if one.through >= end]
            if beyond:
                raise UsageError(
                    f"`counters` knows engagements of {len(beyond)} posts beyond offset {end}, "
                    f"where engagements[{partition}] ends: the topic was created anew; delete "
                    "`counters` too, or use another FEEDMILL_TOPIC_PREFIX"
                )

    async def _read_recent(self, states: dict[int, PartitionState]) -> None:
        """Read the ten minutes before each committed offset again, for repeated event ids."""
        for partition, state in states.items():
            source = TopicPartition(ENGAGEMENTS, partition)
            start = self.app.ledger.start_of(source)
            if start > 0:
                await self._read_recent_of(source, start, state.recent)

    async def _read_recent_of(
        self, source: TopicPartition, start: int, recent: RecentEvents
    ) -> None:
        reader = LogReader(self.environment, [source.topic], [source.partition])
        await reader.start({source: start - 1})
        try:
            batches = await reader.read()
            if not batches:
                return
            since_ms = batches[0].records[0].timestamp - DEDUPLICATED_MS
            first = await reader.offset_at(source, since_ms)
        finally:
            await reader.stop()
        if first is None or first >= start:
            return
        reader = LogReader(self.environment, [source.topic], [source.partition])
        await reader.start({source: first})
        try:
            while batches := await reader.read():
                for batch in batches:
                    records = [record for record in batch.records if record.offset < start]
                    if not records:
                        return
                    events = validate_batch(
                        RecordBatch(source, records), self._count, decode_engagement
                    )
                    for record, event in events.events:
                        recent.repeats(event, record.timestamp)
        finally:
            await reader.stop()

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_EVERY_S)
            for state in self._partitions.values():
                state.drop_before(now_ms() - WINDOW_MS)
