"""The stage of one model over the text of posts: a filter, or the quality ranker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from feedmill.events.decode import decode_post, encode
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict
from feedmill.features.post_batch import PostBatch
from feedmill.filters import campaign
from feedmill.filters.rules import FilterRules, RuleMatch
from feedmill.filters.spec import FilterSpec
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.kafka.validation import last_of_each, validate_batch
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.group_stage import GroupStage
from feedmill.streams.stages.hide_rate_check import HideRateGuard
from feedmill.streams.stages.post_history_reader import HashedPosts, PostHistoryReader
from feedmill.streams.stages.rule_backfill import RuleBackfill
from feedmill.streams.stages.scoring import score_posts

log = logging.getLogger(__name__)

PostRecords = Sequence[tuple[Record, Post]]

_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the model up.")


class DecodedBatch(NamedTuple):
    """A batch, what it says, and at which rows its posts stand among those of all batches."""

    batch: RecordBatch
    events: list[tuple[Record, Post | Deletion]]
    rows: range


class ModelStage(GroupStage):
    """Judges every post that comes, once, and writes `signals.<name>`."""

    def __init__(self, name: str, environment: Environment, load: Callable[[], TextModel]) -> None:
        super().__init__(name, environment)
        self._load = load
        self._epoch = 0

    async def prepare(self) -> None:
        self._model = self._load()
        self.models = {self.name: self._model.version}
        # The first call is ten times as slow as the next; let no post wait for it.
        self._model.score_many([_SAMPLE])
        await super().prepare()

    async def take_over(self) -> None:
        await self._follow_assignment()

    async def process(self, batches: Sequence[RecordBatch]) -> None:
        await self._follow_assignment()
        partitions = await self.producer.partitions("posts")
        taken = []
        posts: list[tuple[Record, Post]] = []
        for batch in (batch for batch in batches if batch.epoch == self._epoch):
            admitted = validate_batch(batch, partitions, decode_post)
            if admitted.rejected:
                # `engagement` letters them: one letter a record is enough.
                self.metrics.add(
                    "feedmill_rejected_total", len(admitted.rejected), topic=batch.source.topic
                )
            first = len(posts)
            posts += [(r, event) for r, event in admitted.events if isinstance(event, Post)]
            taken.append(DecodedBatch(batch, admitted.events, range(first, len(posts))))
        read = PostBatch([post for _, post in posts])
        await self.before(taken, posts, read)
        said = score_posts(self._model, read)
        if said.errors:
            self.metrics.add("feedmill_model_errors_total", len(said.errors))
        for batch, events, rows in taken:
            self.decide(batch, rows, posts, said)
            self._emit(events, {posts[i][0].offset: i for i in rows}, said)

    async def before(
        self, taken: Sequence[DecodedBatch], posts: PostRecords, read: PostBatch
    ) -> None:
        """Get ready to judge these batches, whose posts the model will read in `read`."""

    async def assigned(self) -> None:
        """Get ready for the partitions of an assignment, `app.ledger.done`."""

    def decide(
        self, batch: RecordBatch, rows: range, posts: PostRecords, said: BatchVerdicts
    ) -> None:
        """Let others than the model have their say on the posts of one batch, at these rows."""

    async def _follow_assignment(self) -> None:
        epoch = self.app.epoch
        if epoch != self._epoch:
            await self.assigned()
            self._epoch = epoch

    def _emit(
        self,
        events: list[tuple[Record, Post | Deletion]],
        rows: Mapping[int, int],
        said: BatchVerdicts,
    ) -> None:
        """Write what holds of each post at the end of a batch; superseded versions are silent."""
        at_ms, topic = now_ms(), f"signals.{self.name}"
        for record, event in last_of_each(events):
            if isinstance(event, Deletion):
                self.producer.add(topic, event.post_id.encode(), None)
                continue
            name, version = self._model.name, self._model.version
            row, offset = rows[record.offset], record.offset
            signal = said.signal(row, event.post_id, offset, at_ms, name, version)
            self.producer.add(topic, event.post_id.encode(), encode(signal))


class FilterStage(ModelStage):
    """A filter: its model's values are capped where it flags too much, then others raise them.

        text model -> cap of the flagged share -> largest of it and the campaign -> rules -> signal

    One that `reads_near_copies` reads what came before a post (`PostHistoryReader`).
    """

    def __init__(self, spec: FilterSpec, environment: Environment) -> None:
        super().__init__(spec.name, environment, lambda: spec.load(environment.models))
        self._rules = FilterRules(spec.name)
        self._again = RuleBackfill(self, self._rules, self._ruling)
        self._flagged = HideRateGuard(spec.name, environment, self.metrics, self._score)
        self._memory = (
            PostHistoryReader(lambda chosen: LogReader(environment, ["posts"], chosen))
            if spec.reads_near_copies
            else None
        )

    def settings_changed(self, settings: Settings) -> None:
        self._rules.follow(settings)
        self._again.follow(settings)
        self._flagged.settings_changed(settings)
        super().settings_changed(settings)

    async def prepare(self) -> None:
        self._flagged.settings_changed(self.config.settings)
        await super().prepare()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        beside = [] if self._memory is None else [self._memory.keep_up()]
        return [*super().tasks(), self._again.run(), *beside]

    async def close(self) -> None:
        if self._memory is not None:
            await self._memory.stop()
        await super().close()

    async def assigned(self) -> None:
        self._again.take_over()
        starts = dict(self.app.ledger.done)
        await self._flagged.follow(starts)
        if self._memory is not None:
            await self._memory.begin(starts)

    async def process(self, batches: Sequence[RecordBatch]) -> None:
        async with self._again.publishing:
            await super().process(batches)
            await self.producer.flush()

    async def before(
        self, taken: Sequence[DecodedBatch], posts: PostRecords, read: PostBatch
    ) -> None:
        for one in taken:
            self._again.note(record for record, _ in one.events)
        if self._memory is not None and taken:
            rows = {
                (one.batch.source.partition, posts[i][0].offset): i
                for one in taken
                for i in one.rows
            }
            await self._memory.cover([one.batch for one in taken], HashedPosts(rows, read))

    def decide(
        self, batch: RecordBatch, rows: range, posts: PostRecords, said: BatchVerdicts
    ) -> None:
        self._flagged.lower(batch, rows, posts, said)
        if self._memory is not None and rows:
            partition = batch.source.partition
            pasts = [self._memory.past(partition, posts[i][0].offset) for i in rows]
            values = campaign.campaign_probabilities(pasts)
            said.raise_to(rows, values, lambda i: campaign.campaign_reason(pasts[i]))
        self._rule(rows, posts, said)

    def _rule(self, rows: range, posts: PostRecords, said: BatchVerdicts) -> None:
        """Rules beat the model, its failure, the cap and the campaign."""
        judged = [posts[i] for i in rows]
        hits = self._rules.verdicts([post for _, post in judged], [r.timestamp for r, _ in judged])
        for i, hit in zip(rows, hits, strict=True):
            if hit is not None:
                said.rules[i] = self._ruling(hit)

    def _ruling(self, hit: RuleMatch) -> RuleVerdict:
        self.metrics.add("feedmill_rule_hits_total", verdict=hit.verdict)
        return RuleVerdict(hit.rule, self._rules.value_of(hit))

    def _score(self, posts: Sequence[Post]) -> BatchVerdicts:
        return score_posts(self._model, PostBatch(posts))
