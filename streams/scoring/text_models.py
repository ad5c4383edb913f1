"""The step of one model over the text of posts: it writes `signals.<name>`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from feedmill.events.decode import encode
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.batch_scores import ERROR_CHARACTERS, BatchScores, score_posts
from feedmill.streams.scoring.candidate_scoring import CandidateScoring, Gate, PostsOfHour
from feedmill.streams.scoring.rescoring import Rescoring
from feedmill.streams.worker.decoding import poison_of
from feedmill.streams.worker.step import ModelStep, StepContext, WorkBatch, Writer, WrittenSignal

log = logging.getLogger(__name__)

_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the model up.")
# A model that always fails does so in every cycle.
_COMPLAIN_EVERY_S = 10.0


class TextModelStep(ModelStep):
    """Scores every post once; an edit is scored again, a deletion empties the signal.

    When another version of the model takes over, earlier posts are scored again, too.  A candidate
    judges new posts of some partitions, or scores all in shadow.  A `FilterStep` changes what the
    model says between `score` and `emit`.

    Attributes
    ----------
    candidate
        The version that is tried beside the model, if there is one.
    gate
        What the gate does by the values, which says how the candidate differs; None while no gate
        counts.
    hour
        Which posts count then; None: all.
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
        self.candidate: CandidateScoring | None = None
        self.gate: Gate | None = Gate()
        self.hour: PostsOfHour | None = None
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

    def set_candidate(self, candidate: CandidateScoring | None) -> None:
        """Try a version, which is warm, or None; called between two cycles."""
        self.candidate = candidate
        self._hold()

    def _hold(self) -> None:
        """Leave posts as they are that a candidate judges; all, while the model is stopped."""
        partitions = range(0 if self.candidate is None else self.candidate.record.partitions)
        self.rescoring.hold(range(self.context.partitions) if self.is_stopped else partitions)

    def version_at(self, partition: int) -> str:
        return self.model_at(partition).version

    def model_at(self, partition: int) -> TextModel:
        """Return the model that judges the posts of a partition."""
        candidate = self.candidate
        judges = candidate is not None and candidate.judges(partition)
        return candidate.model if candidate is not None and judges else self.model

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
        if self.candidate is not None:
            scores = self.candidate.score(work, scores, self.gate, writer, self.context.metrics)
        if work.unjudged:
            scores.errors = {**scores.errors, **work.unjudged}
        if scores.errors:
            self.context.metrics.add("feedmill_model_errors_total", len(scores.errors))
            self._complain(scores.errors)
        return scores

    def failed(self, work: WorkBatch, error: Exception, writer: Writer) -> None:
        """Write a signal with the error for every post of the cycle: no other model notices."""
        log.error("step %s failed on %d posts", self.name, len(work.posts), exc_info=error)
        self.context.metrics.add("feedmill_model_errors_total", len(work.posts))
        text = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
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
        own, is_tried = self.model.version, self.candidate is not None
        judged = [
            (row, post.post_id, record.offset, self.version_at(partition) if is_tried else own)
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
