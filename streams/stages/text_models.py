"""The step of one model over the text of posts: it writes `signals.<name>`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np

from feedmill.events.decode import encode
from feedmill.events.post import Deletion, Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import TextModel
from feedmill.streams.stages.scoring import score_posts
from feedmill.streams.stages.step import ModelStep, StepContext, WorkBatch, Writer, WrittenSignal

log = logging.getLogger(__name__)

_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the model up.")
_ERROR_CHARACTERS = 500
# A model that always fails does so in every cycle.
_COMPLAIN_EVERY_S = 10.0


class TextModelStep(ModelStep):
    """Scores every post once; an edit is scored again, a deletion empties the signal.

    Subclasses override `decide` to lower, raise or overrule what the model says, and
    `revision` to say how new it is beside the post's offset.
    """

    def __init__(self, name: str, load: Callable[[], TextModel]) -> None:
        super().__init__()
        self.name = name
        self.topic = f"signals.{name}"
        self._load = load
        self._complained_at = -_COMPLAIN_EVERY_S

    def start(self, context: StepContext) -> None:
        super().start(context)
        self.swap(self._load())
        # The first call is ten times as slow as the next; let no post wait for it.  A model that
        # raises even here harms nothing but its own signal.
        self._complain(score_posts(self.model, PostBatch([_SAMPLE])).errors)

    def swap(self, model: TextModel) -> None:
        self.model = model
        self.models = {self.name: model.version}

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        if not work.latest:
            return
        verdicts = score_posts(self.model, work.posts)
        if verdicts.errors:
            self.context.metrics.add("feedmill_model_errors_total", len(verdicts.errors))
            self._complain(verdicts.errors)
        self.decide(work, verdicts, writer)
        self.emit(work, verdicts, writer)

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

    def revision(self) -> int:
        """Return the revision of the signals that are written now; 0 where only models decide."""
        return 0

    def emit(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        """Write what holds of each post at the end of the cycle; superseded versions are silent."""
        name, version, revision = self.model.name, self.model.version, self.revision()
        for partition, record, event, row in work.latest:
            key = record.key
            if isinstance(event, Deletion):
                writer.add(self.topic, key, None, owner=partition)
                work.signals.append(WrittenSignal(self.name, event.post_id, None))
                continue
            signal = verdicts.signal(row, event.post_id, record.offset, work.now_ms, name, version)
            if revision:
                signal = signal.with_revision(revision)
            writer.add(self.topic, key, encode(signal), owner=partition)
            work.signals.append(WrittenSignal(self.name, event.post_id, signal))
