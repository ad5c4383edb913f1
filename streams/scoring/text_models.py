"""The step of one model over the text of posts: it writes `signals.<name>`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from feedmill.events.decode import encode
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.rescoring import Rescoring
from feedmill.streams.worker.decoding import poison_of
from feedmill.streams.worker.step import ModelStep, StepContext, WorkBatch, Writer, WrittenSignal

log = logging.getLogger(__name__)

_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the model up.")
_ERROR_CHARACTERS = 500
# A model that always fails does so in every cycle.
_COMPLAIN_EVERY_S = 10.0


@dataclass
class CanaryScoring:
    """The candidate of a step, and the partitions of `posts` that it judges.

    Attributes
    ----------
    model, partitions
        The candidate, and the partitions that it judges.
    failure
        What the candidate raised, or said outside [0, 1]; "" while it judges.  After a failure
        it judges no more: the posts of that cycle, too, keep what the model in force says.
    """

    model: TextModel
    partitions: Collection[int]
    failure: str = ""

    def judges(self, partition: int) -> bool:
        """Return whether the candidate judges the posts of a partition."""
        return not self.failure and partition in self.partitions

    def stop_model(self, reason: str) -> None:
        """Let the candidate judge no more."""
        self.failure = reason

    def score(self, work: WorkBatch, verdicts: BatchVerdicts) -> BatchVerdicts:
        """Return the verdicts with the candidate's on its partitions; raises nothing of its own.

        `verdicts` are those of the model in force on all posts of the cycle.
        """
        parts = [part.rows for part in work.partitions if self.judges(part.source.partition)]
        rows = [row for part in parts for row in part]
        if not rows:
            return verdicts
        try:
            values = values_of_rows(self.model, work.posts, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self.failure = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
            return verdicts
        merged, judged = verdicts.values.copy(), set(rows)
        merged[rows] = values
        errors = {row: text for row, text in verdicts.errors.items() if row not in judged}
        return BatchVerdicts(merged, errors)


class TextModelStep(ModelStep):
    """Scores every post once; an edit is scored again, a deletion empties the signal.

    When another version of the model takes over, earlier posts are scored again, too.  In a canary
    a candidate judges new posts of some partitions.
    Subclasses override `decide` and `decide_again` to lower, raise or overrule what the model
    says, `rules_version`, `rule_again`.

    Attributes
    ----------
    revision
        That of the signals that are written now: how new they are beside the post's offset.  0
        where only models decide.
    """

    def __init__(self, name: str, load: Callable[[], TextModel]) -> None:
        super().__init__()
        self.name = name
        self.topic = f"signals.{name}"
        self.revision = 0
        self._load = load
        self.canary: CanaryScoring | None = None
        self._complained_at = -_COMPLAIN_EVERY_S

    def start(self, context: StepContext) -> None:
        super().start(context)
        open_log = partial(LogConsumer, context.connection)
        self.rescoring = Rescoring(self.name, self.judge_again, context, open_log, self.rule_again)
        self.swap(self._load())
        # The first call is ten times as slow as the next; let no post wait for it.  A model that
        # raises even here harms nothing but its own signal.
        self._complain(score_posts(self.model, PostBatch([_SAMPLE])).errors)

    def swap(self, model: TextModel) -> None:
        self.model = model
        self.models = {self.name: model.version}
        self.rescoring.follow(model.version, self.rules_version())
        self._hold()

    def stop_model(self, reason: str) -> None:
        super().stop_model(reason)
        self._hold()

    def begin_canary(self, model: TextModel, partitions: Collection[int]) -> None:
        """Judge some partitions by a version, which is warm; called between two cycles."""
        self.canary = CanaryScoring(model, partitions)
        self._hold()

    def end_canary(self) -> None:
        """Judge all partitions by the model in force; called between two cycles."""
        self.canary = None
        self._hold()

    def _hold(self) -> None:
        """Leave posts as they are that a candidate judges; all, while the model is stopped."""
        partitions: Collection[int] = () if self.canary is None else self.canary.partitions
        every = range(self.context.partitions)
        self.rescoring.hold(every if self.is_stopped else partitions)

    def canary_failure(self) -> str:
        """Return why the candidate judged nothing in this cycle, and will not; "" if it may."""
        return "" if self.canary is None else self.canary.failure

    def version_at(self, partition: int) -> str:
        return self.model_at(partition).version

    def model_at(self, partition: int) -> TextModel:
        """Return the model that judges the posts of a partition."""
        canary = self.canary
        return canary.model if canary is not None and canary.judges(partition) else self.model

    def on_assigned(self, change: AssignmentChange) -> None:
        self.rescoring.assigned(change)

    def poll(self, writer: Writer) -> bool:
        return bool(self.rescoring.written)

    def background(self, writer: Writer, budget_s: float) -> bool:
        if self.is_stopped:
            self.rescoring.note_held(writer)
        return self.rescoring.work(writer, budget_s)

    @property
    def scores_again(self) -> bool:
        return self.rescoring.is_under_way

    def close(self) -> None:
        self.rescoring.close()

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        # Ahead of the cycle's own signals, which are newer.
        work.signals.extend(self.rescoring.written)
        self.rescoring.written = []
        if not work.latest:
            return
        self.rescoring.note_held(writer)
        verdicts = score_posts(self.model, work.posts)
        if self.canary is not None:
            verdicts = self._score_canary(self.canary, work, verdicts)
        if work.unjudged:
            verdicts.errors = {**verdicts.errors, **work.unjudged}
        if verdicts.errors:
            self.context.metrics.add("feedmill_model_errors_total", len(verdicts.errors))
            self._complain(verdicts.errors)
        self.decide(work, verdicts, writer)
        self.emit(work, verdicts, writer)

    def _score_canary(
        self, canary: CanaryScoring, work: WorkBatch, verdicts: BatchVerdicts
    ) -> BatchVerdicts:
        verdicts = canary.score(work, verdicts)
        judged = sum(len(p.rows) for p in work.partitions if canary.judges(p.source.partition))
        if judged:
            self.context.metrics.add("feedmill_canary_posts_total", judged)
        return verdicts

    def failed(self, work: WorkBatch, error: Exception, writer: Writer) -> None:
        """Write a signal with the error for every post of the cycle: no other model notices."""
        log.error("step %s failed on %d posts", self.name, len(work.posts), exc_info=error)
        self.context.metrics.add("feedmill_model_errors_total", len(work.posts))
        text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
        size = len(work.posts)
        self.emit(work, BatchVerdicts(np.zeros(size), dict.fromkeys(range(size), text)), writer)

    def _complain(self, errors: Mapping[int, str]) -> None:
        now = time.monotonic()
        if errors and now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            text = next(iter(errors.values()))
            log.warning("model %s failed on %d posts: %s", self.name, len(errors), text)

    def decide(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        """Change what the model found; `verdicts` has a row for each of `work.posts`."""

    def decide_again(
        self,
        records: Sequence[Record],
        posts: PostBatch,
        standing: Sequence[Signal | None],
        verdicts: BatchVerdicts,
    ) -> None:
        """Change what the model found of n earlier posts, given their records.

        `standing` has for each its present signal, where something else than the model decided it.
        """

    def rule_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None],
    ) -> Sequence[Signal]:
        """Return the signals of earlier posts that rules and lists change; as `decide_again`."""
        return ()

    def rules_version(self) -> str:
        """Return what changes with all that is in force beside the model."""
        return ""

    def emit(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        """Write what holds of each post at the end of the cycle; superseded versions are silent."""
        own, is_canary = self.model.version, self.canary is not None
        judged = [
            (row, post.post_id, record.offset, self.version_at(partition) if is_canary else own)
            for partition, record, post, row in work.latest
            if row >= 0
        ]
        signals = verdicts.signals(judged, work.now_ms, self.model.name, self.revision)
        name, topic, add, written = self.name, self.topic, writer.add, work.signals.append
        for partition, record, event, row in work.latest:
            signal = next(signals) if row >= 0 else None
            value = encode(signal) if signal is not None else None
            add(topic, record.key, value, owner=TopicPartition("posts", partition))
            written(WrittenSignal(name, event.post_id, signal))
        self.rescoring.note_written(work, writer)

    def judge_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None] | None,
    ) -> list[Signal]:
        """Return the signals of earlier posts by the present model, with its errors.

        All are of one partition.  `standing` as of `decide_again`, which is not asked for None.
        """
        batch = PostBatch(posts)
        partition = partition_of(posts[0].post_id.encode(), self.context.partitions)
        model = self.model_at(partition)
        verdicts = score_posts(model, batch)
        if poisoned := self.context.poisoned.get(partition):
            verdicts.errors = {**verdicts.errors, **poison_of(records, poisoned)}
        if standing is not None:
            self.decide_again(records, batch, standing, verdicts)
        judged = [
            (row, post.post_id, record.offset, model.version)
            for row, (record, post) in enumerate(zip(records, posts, strict=True))
        ]
        now_ms = self.context.clock.now_ms()
        return list(verdicts.signals(judged, now_ms, model.name, self.revision))


def score_posts(model: TextModel, posts: PostBatch) -> BatchVerdicts:
    """What the model says of each post, or why it failed on one.

    A batch on which the model raises is scored post by post, so that one post that breaks
    it takes no other along.
    """
    if not len(posts):
        return BatchVerdicts(np.zeros(0), {})
    try:
        values = model.score_batch(posts)
    except Exception:  # noqa: BLE001 - a model may raise anything; found out post by post
        return _one_by_one(model, posts.posts)
    return BatchVerdicts(values, wrong_values(values))


def _one_by_one(model: TextModel, posts: Sequence[Post]) -> BatchVerdicts:
    values, errors = np.zeros(len(posts)), {}
    for i, post in enumerate(posts):
        try:
            values[i] = model.score_many([post])[0]
        except Exception as error:  # noqa: BLE001 - goes into the signal
            errors[i] = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return BatchVerdicts(values, {**wrong_values(values), **errors})


def wrong_values(values: npt.NDArray[np.float64]) -> dict[int, str]:
    """Return by row why a value, of (rows,), is none that a signal may have."""
    bad = [i for i, value in enumerate(values.tolist()) if not 0 <= value <= 1]
    return {i: f"the model returned {values[i]!r}, outside [0, 1]" for i in bad}


def values_of_rows(model: TextModel, posts: PostBatch, rows: Sequence[int]) -> Scores:
    """Return what a model says of some posts of a batch: (rows,) in [0, 1].

    Raises
    ------
    ValueError
        It says something else of one of them; it may raise anything else itself.
    """
    try:
        # The features of the whole batch are there: the model in force has read them.
        values = np.asarray(model.score_batch(posts))[rows]
    except Exception:  # noqa: BLE001 - a post that is none of these may be what breaks it
        values = np.asarray(model.score_batch(PostBatch([posts.posts[row] for row in rows])))
    if wrong := wrong_values(values):
        raise ValueError(next(iter(wrong.values())))
    return values
