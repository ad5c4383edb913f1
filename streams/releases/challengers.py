"""Scores live posts with challengers, beside the models in force: `shadow` gets what they say.

    models ─► ReleaseFold ─► a thread: trial in another process, load ─► scores after all steps

A challenger decides nothing: no step, no signal and no feed ever sees its values.  One that fails
is stopped alone.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

import numpy as np

from feedmill.events.decode import encode
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import SHADOW, Challenger
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases.background_loads import BackgroundLoads
from feedmill.streams.releases.loading import (
    BY_TEXT,
    LoadedText,
    failure_reason,
    load_candidate,
)
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.scoring.text_models import values_of_rows
from feedmill.streams.worker.model_step import ModelStep, StoppedModel
from feedmill.streams.worker.step import LatestEvent, WorkBatch, Writer

log = logging.getLogger(__name__)

TOPIC = "shadow"
# One call should hold the loop no longer: of more posts some are drawn.
_CALL_MS = 20.0
_MOST_POSTS = 10_000
# Of its share of a core what was not taken is saved up for so long.
_SAVED_S = 1.0

Load = Callable[[str, Challenger], LoadedText]


class ProcessorCap:
    """Lets work begin while its processor time is within a share of the time that passes.

    The last piece of work may go beyond; the next one waits until that is made up for.

    Parameters
    ----------
    core_share
        How much of one core, above 0 and at most 1.
    now_s
        The time in seconds; it never goes back.
    """

    def __init__(self, core_share: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._core_share = core_share
        self._now_s = now_s
        self._allowed_s = core_share * _SAVED_S
        self._seen_s = now_s()

    def may_begin(self) -> bool:
        """Return whether anything is left."""
        now_s = self._now_s()
        gained_s = (now_s - self._seen_s) * self._core_share
        self._allowed_s = min(self._allowed_s + gained_s, self._core_share * _SAVED_S)
        self._seen_s = now_s
        return self._allowed_s > 0

    def spend(self, seconds: float) -> None:
        """Take the processor time that a piece of work took."""
        self._allowed_s -= seconds


@dataclass
class _Running:
    """A challenger that scores, the record that named it, its cap, and its posts a call."""

    model: TextModel | StoppedModel
    offset: int
    record: Challenger
    cap: ProcessorCap
    most_posts: int

    def stop_model(self, reason: str) -> None:
        """Have the next call raise, which drops the challenger."""
        self.model = StoppedModel(self.model, reason)


class Challengers:
    """The challengers of a worker's models, at most one a model; belongs to the loop's thread.

    Parameters
    ----------
    releases
        Which challengers are named; who feeds it tells `named`.
    steps
        The steps of the worker that run a model, by its name.
    load
        Tries and loads a challenger; called on a thread of its own.
    metrics_of
        Gives the metrics under the name of a stage.
    """

    def __init__(
        self,
        releases: ReleaseFold,
        steps: Mapping[str, ModelStep],
        load: Load,
        metrics_of: Callable[[str], Metrics],
    ) -> None:
        self._releases = releases
        self._steps = steps
        self._load = load
        self._metrics_of = metrics_of
        self._loads = BackgroundLoads[str, LoadedText]("challenger")
        self.running: dict[str, _Running] = {}
        self._changed: set[str] = set()

    def versions(self, model: str) -> dict[str, str]:
        """Return the version of a model that scores in shadow, by the model; empty if none does."""
        running = self.running.get(model)
        return {} if running is None else {model: running.model.version}

    def dealt_with(self, model: str, offset: int) -> int:
        """Return the last record up to `offset` behind which no challenger waits to be loaded."""
        return self._loads.dealt_with(offset, lambda one: one == model)

    def named(self, model: str) -> None:
        """Follow the last record about a model's challenger."""
        if model not in self._steps or model in self._loads:
            return
        offset, challenger = self._releases.challenger(model)
        self.running.pop(model, None)
        self._changed.add(model)
        if challenger is None:
            return
        if model not in BY_TEXT:
            self._refuse(model, offset, f"`{model}` scores no posts by their text alone")
            return
        self._loads.begin(model, offset, partial(self._load, model, challenger))

    def follow(self) -> set[str]:
        """Take what is loaded; return the models whose challengers began, stopped or were refused.

        Called in every cycle.
        """
        for model, offset, loaded in self._loads.take_done():
            if self._releases.challenger(model).offset == offset:
                self._begin(model, offset, loaded)
            else:
                # Another one was named meanwhile, or none is wanted.
                self.named(model)
        changed, self._changed = self._changed, set()
        return changed

    def score(self, work: WorkBatch, writer: Writer) -> None:
        """Score the posts of a cycle, after all steps; raises nothing of a challenger's."""
        posts = [one for one in work.latest if one.row >= 0 and one.row not in work.unjudged]
        for model in tuple(self.running) if posts else ():
            # A challenger that was released meanwhile has nobody to be compared with.
            if self.running[model].model.version != self._steps[model].models[model]:
                self._score(model, work, posts, writer)

    def close(self) -> None:
        self._loads.close()

    def _begin(self, model: str, offset: int, loaded: LoadedText) -> None:
        self._changed.add(model)
        challenger = self._releases.challenger(model).release
        if loaded.model is None or challenger is None:
            self._refuse(model, offset, loaded.reason)
            return
        most = min(_MOST_POSTS, max(1, int(_CALL_MS / max(loaded.ms_a_post, 1e-6))))
        cap = ProcessorCap(challenger.core_share)
        self.running[model] = _Running(loaded.model, offset, challenger, cap, most)
        log.info("challenger of %s: %s scores in shadow", model, loaded.model.version)

    def _score(
        self, model: str, work: WorkBatch, posts: Sequence[LatestEvent], writer: Writer
    ) -> None:
        running, metrics = self.running[model], self._metrics_of(model)
        if not running.cap.may_begin():
            metrics.add("feedmill_shadow_skipped_total", len(posts))
            return
        start = time.thread_time()
        try:
            chosen = _drawn(posts, running.most_posts)
            batch, rows = work.posts, [one.row for one in chosen]
            if len(chosen) < len(posts):
                batch, rows = PostBatch([batch.posts[row] for row in rows]), [*range(len(rows))]
            values = values_of_rows(running.model, batch, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self._refuse(model, running.offset, f"stopped: {type(error).__name__}: {error}")
            return
        for one, value in zip(chosen, values.astype(np.float32).tolist(), strict=True):
            version, offset = running.model.version, one.record.offset
            post_id = work.posts.posts[one.row].post_id
            signal = Signal(post_id, offset, value, model, version, work.now_ms)
            writer.add(
                TOPIC, one.record.key, encode(signal), owner=TopicPartition("posts", one.partition)
            )
        seconds = time.thread_time() - start
        running.cap.spend(seconds)
        metrics.add("feedmill_shadow_posts_total", len(chosen))
        metrics.add("feedmill_shadow_skipped_total", len(posts) - len(chosen))
        metrics.add("feedmill_shadow_cpu_seconds_total", seconds)

    def _refuse(self, model: str, offset: int, reason: str) -> None:
        """Go on without a challenger; the model in force does not notice."""
        log.error("challenger of %s named at offset %d: %s", model, offset, reason)
        self.running.pop(model, None)
        self._changed.add(model)
        self._releases.refuse(SHADOW + model, offset, reason[:MAX_REASON_CHARACTERS])


def load_challenger(
    connection: Connection, closing: Event, store: Store | None, model: str, challenger: Challenger
) -> LoadedText:
    """Load a challenger as `load_candidate` does, where what it says can be written.

    A transaction with a record for a topic that is not there would fail with all signals in it.
    """
    try:
        found, posts = (
            connection.offsets.partition_count(topic, closing) for topic in (TOPIC, "posts")
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on without it
        return LoadedText(None, failure_reason(error))
    if found != posts:
        reason = f"the topic `{TOPIC}` has {found} partitions, `posts` has {posts}"
        return LoadedText(None, reason)
    return load_candidate(store, model, challenger)


def _drawn(posts: Sequence[LatestEvent], most: int) -> Sequence[LatestEvent]:
    """Return at most so many of the posts, by a hash of their keys, in their order."""
    if len(posts) <= most:
        return posts
    by_hash = sorted(range(len(posts)), key=lambda n: zlib.crc32(posts[n].record.key or b""))
    return [posts[n] for n in sorted(by_hash[:most])]
