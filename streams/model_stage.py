"""The stage of one model over the text of posts: a filter, or the quality ranker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from feedmill.events.decode import decode_post, encode
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal
from feedmill.features.model import TextModel
from feedmill.streams.batches import Record, RecordBatch
from feedmill.streams.clock import now_ms
from feedmill.streams.environment import Environment
from feedmill.streams.group_stage import GroupStage
from feedmill.streams.intake import admit, last_of_each

log = logging.getLogger(__name__)

_ERROR_CHARACTERS = 500
_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the model up.")


class ModelStage(GroupStage):
    """Judges every post that comes, once, and writes `signals.<name>`."""

    def __init__(self, name: str, environment: Environment, load: Callable[[], TextModel]) -> None:
        super().__init__(name, environment)
        self._load = load

    async def prepare(self) -> None:
        self._model = self._load()
        self.models = {self.name: self._model.version}
        # The first call is ten times as slow as the next; let no post wait for it.
        self._model.score_many([_SAMPLE])
        await super().prepare()

    async def process(self, batches: Sequence[RecordBatch]) -> None:
        partitions = await self.producer.partitions("posts")
        posts: list[tuple[Record, Post]] = []
        for batch in batches:
            admitted = admit(batch, partitions, decode_post)
            if admitted.rejected:
                # `engagement` letters them: one letter a record is enough.
                self.metrics.add(
                    "feedmill_rejected_total", len(admitted.rejected), topic=batch.source.topic
                )
            for record, event in last_of_each(admitted.events):
                if isinstance(event, Deletion):
                    self.producer.add(f"signals.{self.name}", event.post_id.encode(), None)
                else:
                    posts.append((record, event))
        if posts:
            self._judge(posts)

    def _judge(self, posts: Sequence[tuple[Record, Post]]) -> None:
        values, errors = score(self._model, [post for _, post in posts])
        if errors:
            self.metrics.add("feedmill_model_errors_total", len(errors))
        at_ms = now_ms()
        rounded = values.astype(np.float32).astype(np.float64).tolist()
        for i, (record, post) in enumerate(posts):
            error = errors.get(i)
            signal = Signal(
                post_id=post.post_id,
                post_offset=record.offset,
                value=None if error is not None else rounded[i],
                model=self._model.name,
                version=self._model.version,
                at_ms=at_ms,
                error=error,
            )
            self.producer.add(f"signals.{self.name}", post.post_id.encode(), encode(signal))


def score(model: TextModel, posts: Sequence[Post]) -> tuple[np.ndarray, dict[int, str]]:
    """Values of posts, shape (n,), and by position why the model failed on one.

    A batch on which the model raises is scored post by post, so that one post that breaks
    it takes no other along.
    """
    try:
        values = model.score_many(posts)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; found out below
        log.warning("model %s failed on a batch of %d: %r", model.name, len(posts), error)
        return _one_by_one(model, posts)
    bad = np.flatnonzero(~((values >= 0) & (values <= 1))).tolist()
    return values, {i: f"the model returned {values[i]!r}, outside [0, 1]" for i in bad}


def _one_by_one(model: TextModel, posts: Sequence[Post]) -> tuple[np.ndarray, dict[int, str]]:
    values, errors = np.zeros(len(posts)), {}
    for i, post in enumerate(posts):
        try:
            values[i] = model.score_many([post])[0]
        except Exception as error:  # noqa: BLE001 - goes into the signal
            errors[i] = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
    return values, errors
