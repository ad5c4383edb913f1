"""The step of one model over the text of posts: it writes `signals.<name>`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from feedmill.events.decode import encode
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.signal import RuleVerdict, Signal
from feedmill.features.post_batch import PostBatch
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


@dataclass(slots=True)
class BatchScores:
    """What a model says of the n posts of one batch, and what decides instead, by their rows.

    Attributes
    ----------
    values
        (n,) float64 in [0, 1]; meaningless where there is an error.
    errors
        By row why the model failed; such a post has no value, and its gate's policy decides.
    reasons
        By row what decided instead of the model, in a few words for `Signal.reason`.
    rules
        By row the operator's rule that decides, whatever else was found.
    """

    values: Scores
    errors: Mapping[int, str]
    reasons: dict[int, str] = field(default_factory=dict)
    rules: dict[int, RuleVerdict] = field(default_factory=dict)

    def lower(self, rows: Mapping[int, tuple[float, str]]) -> None:
        """Set values and reasons, by row."""
        for row, (value, reason) in rows.items():
            self.values[row], self.reasons[row] = value, reason

    def raise_to(self, rows: range, values: Scores, reason: Callable[[int], str]) -> None:
        """Raise the values of these rows to (len(rows),) values where those are larger.

        `reason` returns the reason for the i-th of the rows.
        """
        for i in np.flatnonzero(values > self.values[rows.start : rows.stop]).tolist():
            self.values[rows[i]], self.reasons[rows[i]] = values[i], reason(i)

    def signals(
        self, posts: Iterable[tuple[int, str, int, str]], at_ms: int, model: str, revision: int = 0
    ) -> Iterator[Signal]:
        """Return the signal of each post; its rule's, if a rule decides.

        Of a post `posts` has the row, the id, the offset of its record, and the version of the
        model that judged it.
        """
        values = self.values.astype(np.float32).tolist()
        if self.errors or self.reasons or self.rules:
            return self._with_reasons(values, posts, at_ms, model, revision)
        signals = [
            Signal(post_id, offset, values[row], model, version, at_ms, None, None, None, revision)
            for row, post_id, offset, version in posts
        ]
        return iter(signals)

    def _with_reasons(
        self,
        values: Sequence[float],
        posts: Iterable[tuple[int, str, int, str]],
        at_ms: int,
        model: str,
        revision: int,
    ) -> Iterator[Signal]:
        for row, post_id, offset, version in posts:
            error = self.errors.get(row)
            value, reason = None, None
            if error is None:
                value, reason = values[row], self.reasons.get(row)
            signal = Signal(
                post_id, offset, value, model, version, at_ms, error, reason, None, revision
            )
            yield signal.with_rule(self.rules[row], at_ms) if row in self.rules else signal


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

    def score(self, work: WorkBatch, scores: BatchScores) -> BatchScores:
        """Return the scores with the candidate's on its partitions; raises nothing of its own.

        `scores` are those of the model in force on all posts of the cycle.
        """
        parts = [part.rows for part in work.partitions if self.judges(part.source.partition)]
        rows = [row for part in parts for row in part]
        if not rows:
            return scores
        try:
            values = values_of_rows(self.model, work.posts, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self.failure = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
            return scores
        merged, judged = scores.values.copy(), set(rows)
        merged[rows] = values
        errors = {row: text for row, text in scores.errors.items() if row not in judged}
        return BatchScores(merged, errors)


class TextModelStep(ModelStep):
    """Scores every post once; an edit is scored again, a deletion empties the signal.

    When another version of the model takes over, earlier posts are scored again, too.  In a canary
    a candidate judges new posts of some partitions.  A `FilterStep` changes what the model says
    between `score` and `emit`.

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
        self.rescoring.set_versions(model.version, self.rules_version())
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
        scores = self.score(work, writer)
        if scores is not None:
            self.emit(work, scores, writer)

    def score(self, work: WorkBatch, writer: Writer) -> BatchScores | None:
        """Return what the model says of a cycle's posts, a row each; None where none came."""
        # Ahead of the cycle's own signals, which are newer.
        work.signals.extend(self.rescoring.written)
        self.rescoring.written = []
        if not work.latest:
            return None
        self.rescoring.note_held(writer)
        scores = score_posts(self.model, work.posts)
        if self.canary is not None:
            scores = self._score_canary(self.canary, work, scores)
        if work.unjudged:
            scores.errors = {**scores.errors, **work.unjudged}
        if scores.errors:
            self.context.metrics.add("feedmill_model_errors_total", len(scores.errors))
            self._complain(scores.errors)
        return scores

    def _score_canary(
        self, canary: CanaryScoring, work: WorkBatch, scores: BatchScores
    ) -> BatchScores:
        scores = canary.score(work, scores)
        judged = sum(len(p.rows) for p in work.partitions if canary.judges(p.source.partition))
        if judged:
            self.context.metrics.add("feedmill_canary_posts_total", judged)
        return scores

    def failed(self, work: WorkBatch, error: Exception, writer: Writer) -> None:
        """Write a signal with the error for every post of the cycle: no other model notices."""
        log.error("step %s failed on %d posts", self.name, len(work.posts), exc_info=error)
        self.context.metrics.add("feedmill_model_errors_total", len(work.posts))
        text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
        size = len(work.posts)
        self.emit(work, BatchScores(np.zeros(size), dict.fromkeys(range(size), text)), writer)

    def _complain(self, errors: Mapping[int, str]) -> None:
        now = time.monotonic()
        if errors and now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            text = next(iter(errors.values()))
            log.warning("model %s failed on %d posts: %s", self.name, len(errors), text)

    def rule_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None],
    ) -> Sequence[Signal]:
        """Return the signals of earlier posts that rules and lists change; as `judge_again`."""
        return ()

    def rules_version(self) -> str:
        """Return what changes with all that is in force beside the model."""
        return ""

    def emit(self, work: WorkBatch, scores: BatchScores, writer: Writer) -> None:
        """Write what holds of each post at the end of the cycle; superseded versions are silent."""
        own, is_canary = self.model.version, self.canary is not None
        judged = [
            (row, post.post_id, record.offset, self.version_at(partition) if is_canary else own)
            for partition, record, post, row in work.latest
            if row >= 0
        ]
        signals = scores.signals(judged, work.now_ms, self.model.name, self.revision)
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
        standing: Sequence[Signal | None],
    ) -> list[Signal]:
        """Return the signals of earlier posts, given their records, by the present model.

        All are of one partition.  `standing` has for each post its present signal, where something
        else than the model decided it.
        """
        return self.signals_again(records, posts, self.score_again(records, PostBatch(posts)))

    def score_again(self, records: Sequence[Record], posts: PostBatch) -> BatchScores:
        """Return what the model says of earlier posts of one partition, with its errors."""
        partition = self._partition_of(posts.posts)
        scores = score_posts(self.model_at(partition), posts)
        if poisoned := self.context.poisoned.get(partition):
            scores.errors = {**scores.errors, **poison_of(records, poisoned)}
        return scores

    def signals_again(
        self, records: Sequence[Record], posts: Sequence[Post], scores: BatchScores
    ) -> list[Signal]:
        """Return the signals of earlier posts of one partition that have these scores."""
        model = self.model_at(self._partition_of(posts))
        judged = [
            (row, post.post_id, record.offset, model.version)
            for row, (record, post) in enumerate(zip(records, posts, strict=True))
        ]
        now_ms = self.context.clock.now_ms()
        return list(scores.signals(judged, now_ms, model.name, self.revision))

    def _partition_of(self, posts: Sequence[Post]) -> int:
        return partition_of(posts[0].post_id.encode(), self.context.partitions)


def score_posts(model: TextModel, posts: PostBatch) -> BatchScores:
    """What the model says of each post, or why it failed on one.

    A batch on which the model raises is scored post by post, so that one post that breaks
    it takes no other along.
    """
    if not len(posts):
        return BatchScores(np.zeros(0), {})
    try:
        values = model.score_batch(posts)
    except Exception:  # noqa: BLE001 - a model may raise anything; found out post by post
        return _one_by_one(model, posts.posts)
    return BatchScores(values, wrong_values(values))


def _one_by_one(model: TextModel, posts: Sequence[Post]) -> BatchScores:
    values, errors = np.zeros(len(posts)), {}
    for i, post in enumerate(posts):
        try:
            values[i] = model.score_many([post])[0]
        except Exception as error:  # noqa: BLE001 - goes into the signal
            errors[i] = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return BatchScores(values, {**wrong_values(values), **errors})


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
