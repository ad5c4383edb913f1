"""Candidates: versions that run beside the models in force, in canaries and in shadow.

    models ─► ReleaseFold ─► a thread: trial in another process, load ─► the step, between cycles
    instances ─► the time that passed, alarms ─► models: a canary is promoted, or goes back

A canary's candidate judges some partitions of `posts`.  A challenger decides nothing: it scores
live posts, and `shadow` gets what it says.  A candidate that fails is stopped alone, at once, and
`instances` says why.
"""

from __future__ import annotations

import logging
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import CANARY, SHADOW, Canary, Challenger, ModelRelease, TriedVersion
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases.loading import (
    BY_TEXT,
    LoadedText,
    failure_reason,
    load_candidate,
)
from feedmill.streams.releases.newest_releases import BackgroundLoads
from feedmill.streams.releases.release_log import ReleaseFold, StartedCanary
from feedmill.streams.scoring.text_models import TextModelStep, values_of_rows
from feedmill.streams.worker.step import LatestEvent, ModelStep, StoppedModel, WorkBatch, Writer

log = logging.getLogger(__name__)

# The partition whose owner decides a canary; every canary has it.
FIRST = 0
_NOTE = "canary."
# Of a longer time between two heartbeats only so much counts: nobody watched meanwhile.
_MOST_STEP_MS = 15_000
# After this time a decision that has not come back on `models` is written again.
_AGAIN_AFTER_MS = 15_000
# A note may take a transaction of its own.
_NOTE_EVERY_MS = 5_000
SHADOW_TOPIC = "shadow"
# A call of a challenger may hold the loop so long: of too many posts it scores a sample.
_CALL_MS = 20.0
_MOST_POSTS = 10_000
# How long a challenger saves up the part of its share of a core that it did not use.
_SAVED_S = 1.0

Version = TypeVar("Version", bound=TriedVersion)
Load = Callable[[str, Version], LoadedText]
Send = Callable[[bytes, bytes], None]


@dataclass
class _Running(Generic[Version]):
    """A candidate that runs, and the record that began it."""

    model: TextModel | StoppedModel
    offset: int
    record: Version

    def stop_model(self, reason: str) -> None:
        """Have the candidate's next call raise, which stops it."""
        self.model = StoppedModel(self.model, reason)


class _Wanted(NamedTuple, Generic[Version]):
    """The last record about a model's candidate; `refusal` says why the candidate may not run."""

    offset: int
    record: Version
    refusal: str = ""


class _Candidates(ABC, Generic[Version]):
    """The candidates of one kind, at most one a model; belongs to the loop's thread.

    `load` tries and loads a candidate on a thread of its own.  `kind` is the candidates' name in
    the log, `key` how the keys of their records begin; `running` has the candidates by model.
    """

    kind: str
    key: str

    def __init__(self, releases: ReleaseFold, load: Load[Version]) -> None:
        self._releases = releases
        self._load = load
        self._loads = BackgroundLoads[str, LoadedText](self.kind)
        self.running: dict[str, _Running[Version]] = {}
        # By model the last record whose candidate was refused or stopped.
        self._refused: dict[str, int] = {}
        self._changed: set[str] = set()

    @abstractmethod
    def _wanted(self, model: str) -> _Wanted[Version] | None:
        """Return the last record about a model's candidate; None if there is no candidate."""

    @abstractmethod
    def _run(self, model: str, candidate: TextModel, ms_a_post: float) -> None:
        """Start a candidate that is in `running`; `ms_a_post` is from its trial."""

    @abstractmethod
    def _stop(self, model: str) -> None:
        """Stop the candidate of a model."""

    def versions(self, model: str) -> dict[str, str]:
        """Return the version of the candidate that runs, by the model; empty if none runs."""
        running = self.running.get(model)
        return {} if running is None else {model: running.model.version}

    def is_settled(self) -> bool:
        """Return whether no candidate is being loaded."""
        return not self._loads

    def dealt_with(self, model: str, offset: int) -> int:
        """Return `offset`, or the last record before that of a candidate which is being loaded."""
        return self._loads.dealt_with(offset, lambda name: name == model)

    def changed(self, model: str) -> None:
        """Follow the last record about a model's candidate, or the release that ended it."""
        wanted, running = self._wanted(model), self.running.get(model)
        if running is not None and (wanted is None or wanted.offset != running.offset):
            self._end(model)
        if wanted is None:
            return
        if wanted.refusal:
            self._refuse(model, wanted.offset, wanted.refusal)
            return
        is_there = model in self.running or model in self._loads
        if not is_there and wanted.offset > self._refused.get(model, -1):
            self._loads.begin(model, wanted.offset, partial(self._load, model, wanted.record))

    def begin_loaded(self) -> set[str]:
        """Take what is loaded; return the models whose candidates began, ended or were refused.

        Called in every cycle.
        """
        for model, offset, loaded in self._loads.take_done():
            wanted = self._wanted(model)
            if wanted is not None and not wanted.refusal and wanted.offset == offset:
                self._begin(model, wanted, loaded)
            else:
                # A later record names another candidate, or none.
                self.changed(model)
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        self._loads.close()

    def _begin(self, model: str, wanted: _Wanted[Version], loaded: LoadedText) -> None:
        self._changed.add(model)
        if loaded.model is None:
            self._refuse(model, wanted.offset, loaded.reason)
            return
        self.running[model] = _Running(loaded.model, wanted.offset, wanted.record)
        self._run(model, loaded.model, loaded.ms_a_post)

    def _end(self, model: str) -> None:
        if self.running.pop(model, None) is not None:
            self._stop(model)
            self._changed.add(model)

    def _refuse(self, model: str, offset: int, reason: str) -> None:
        """Stop a candidate, and keep the reason, once for each record."""
        self._end(model)
        if self._refused.get(model, -1) >= offset:
            return
        self._refused[model] = offset
        self._changed.add(model)
        log.error("%s of %s that began at offset %d: %s", self.kind, model, offset, reason)
        self._releases.refuse(self.key + model, offset, reason[:MAX_REASON_CHARACTERS])


class Canaries(_Candidates[Canary]):
    """The canaries of a worker's models; `steps` can run two versions, by the name of the model.

    How a canary ends stands on `models`, so that all workers agree: see `CanaryDecision`.
    """

    kind, key = "canary", CANARY

    def __init__(
        self, releases: ReleaseFold, steps: Mapping[str, TextModelStep], load: Load[Canary]
    ) -> None:
        super().__init__(releases, load)
        self._steps = steps

    def offset_of(self, model: str) -> int | None:
        """Return the record that began the canary whose candidate is loaded and judges."""
        running = self.running.get(model)
        return None if running is None else running.offset

    def released(self, model: str, release: ModelRelease | None) -> TextModel | None:
        """Return the candidate if a release is that of its version, with the same answers.

        The candidate was tried and is warm, so it goes on while nothing is loaded again.
        """
        running = self.running.get(model)
        if running is None or release is None:
            return None
        tried = running.record.sha256, running.record.answers
        return running.model if tried == (release.sha256, release.answers) else None

    def stop_failed(self) -> list[str]:
        """End the canaries whose candidates failed in this cycle; return their models.

        `instances` then has the reason, which is an alarm.
        """
        failed = [name for name in self.running if self._steps[name].canary_failure()]
        for model in failed:
            reason = self._steps[model].canary_failure()
            self._refuse(model, self.running[model].offset, f"stopped: {reason}")
        return failed

    def _wanted(self, model: str) -> _Wanted[Canary] | None:
        last, refusal = self._releases.canaries.last(model), ""
        if last is None:
            return None
        if model not in self._steps:
            refusal = f"`{model}` scores no posts by their text alone"
        elif not last.is_under_way:
            refusal = f"went back: {last.reason}"
        return _Wanted(last.offset, last.canary, refusal)

    def _run(self, model: str, candidate: TextModel, ms_a_post: float) -> None:
        partitions = self.running[model].record.partitions
        self._steps[model].begin_canary(candidate, range(partitions))
        log.info(
            "canary of %s: %s judges %d of the partitions", model, candidate.version, partitions
        )

    def _stop(self, model: str) -> None:
        self._steps[model].end_canary()


class _Watch:
    """How long one canary has been without an alarm, by the broker's stamps of heartbeats."""

    def __init__(self, offset: int, counted_ms: int = 0) -> None:
        self.offset = offset
        self.counted_ms = self._noted_ms = counted_ms
        self.stamp_ms = 0
        self.decided_ms: int | None = None

    def count(self, at_ms: int) -> None:
        if self.stamp_ms:
            self.counted_ms += min(max(0, at_ms - self.stamp_ms), _MOST_STEP_MS)
        self.stamp_ms = max(at_ms, self.stamp_ms)

    def text(self) -> str:
        """Return the note of the canary, which changes every five seconds."""
        if self.counted_ms >= self._noted_ms + _NOTE_EVERY_MS:
            self._noted_ms = self.counted_ms
        return f"{self.offset} {self._noted_ms}"


class CanaryDecision:
    """Ends canaries: after an alarm, or when their time has passed without one.

    The owner of the first partition of `posts` decides, since every canary has it.  Two owners at
    once do no harm: the first record that ends a canary counts, and a later one is refused.  The
    note ``canary.<model>`` beside that partition's offset has the canary's offset and the
    milliseconds that count, so that the next owner goes on.

    `heartbeat` is called for every record of `instances`, `note` in every cycle.  `models` can have
    canaries; `send` writes a key and a value to `models` and never waits.
    """

    def __init__(
        self, releases: ReleaseFold, canaries: Canaries, models: Collection[str], send: Send
    ) -> None:
        self._releases = releases
        self._canaries = canaries
        self._models = tuple(models)
        self._send = send
        self._decides = False
        self._watches: dict[str, _Watch] = {}
        self._texts: dict[str, str] = {}

    def assigned(self, change: AssignmentChange) -> None:
        """Learn whether this worker decides, and how long the canaries have been going on."""
        self._decides = FIRST in change.owned
        notes = change.notes.get(TopicPartition("posts", FIRST), {})
        self._texts = {m: text for m in self._models if (text := notes.get(_NOTE + m, ""))}
        self._watches = {
            model: _Watch(*map(int, text.split())) for model, text in self._texts.items()
        }

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance, stamped by the broker."""
        if not self._decides:
            return
        for model in self._models:
            current = self._releases.canaries.current(model)
            if current is not None:
                self._decide(model, current, instance, at_ms)

    def note(self, writer: Writer) -> None:
        """Commit how long the canaries have been without an alarm."""
        if not self._decides or not (self._watches or self._texts):
            return
        for model in self._models:
            current, watch = self._releases.canaries.current(model), self._watches.get(model)
            text = ""
            if current is not None and watch is not None and watch.offset == current.offset:
                text = watch.text()
            else:
                self._watches.pop(model, None)
            if text != self._texts.get(model, ""):
                self._texts[model] = text
                writer.note(TopicPartition("posts", FIRST), _NOTE + model, text)

    def _decide(self, model: str, now: StartedCanary, instance: Instance, at_ms: int) -> None:
        watch = self._watches.get(model)
        if watch is None or watch.offset != now.offset:
            watch = self._watches[model] = _Watch(now.offset)
        if watch.decided_ms is not None and at_ms < watch.decided_ms + _AGAIN_AFTER_MS:
            return
        reason = alarm_in(instance, model, now)
        if not reason:
            if self._canaries.offset_of(model) != now.offset:
                # No candidate judges here: the time does not count.
                watch.stamp_ms = 0
                return
            watch.count(at_ms)
            if watch.counted_ms < now.canary.after_ms:
                return
        watch.decided_ms = at_ms
        key, record = (CANARY + model, ended(now, reason)) if reason else (model, promoted(now))
        log.info("canary of %s that began at %d: %s", model, now.offset, reason or "promoted")
        self._send(key.encode(), encode(record))


def alarm_in(instance: Instance, model: str, canary: StartedCanary) -> str:
    """Return why a heartbeat ends a canary; "" if it does not.

    The reasons are a refusal or a failure of the candidate, and drift of the model's values unless
    it is about another version.
    """
    name = f"{instance.stage}/{instance.instance}"
    for refusal in instance.refused_releases:
        if (refusal.model, refusal.offset) == (CANARY + model, canary.offset):
            return f"{name}: {refusal.reason}"
    for drift in instance.drift:
        if (
            drift.model == model
            and drift.state == "drift"
            and drift.version in ("", canary.canary.version)
        ):
            return f"{name}: drift: {drift.quantity}: {drift.reason}"
    return ""


def promoted(now: StartedCanary) -> ModelRelease:
    """Return the release of a canary's version."""
    canary = now.canary
    note = f"no alarm in its canary, partitions: {canary.partitions}"
    if canary.note:
        note = f"{canary.note}; {note}"
    return ModelRelease(canary.sha256, canary.answers, canary.by, note[:4096], canary=now.offset)


def ended(now: StartedCanary, reason: str) -> Canary:
    """Return the record that ends a canary for a reason."""
    record: Canary = msgspec.structs.replace(now.canary, ends=now.offset, reason=reason[:4096])
    return record


class ProcessorCap:
    """Keeps the processor time of some work within a share of the time that passes.

    A piece of work may go beyond the share; then the next piece waits until that is made up for.
    `core_share` is above 0 and at most 1; `now_s` returns seconds that never go back.
    """

    def __init__(self, core_share: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._core_share = core_share
        self._now_s = now_s
        self._allowed_s = core_share * _SAVED_S
        self._seen_s = now_s()

    def may_begin(self) -> bool:
        """Return whether the next piece of work may begin."""
        now_s = self._now_s()
        gained_s = (now_s - self._seen_s) * self._core_share
        self._allowed_s = min(self._allowed_s + gained_s, self._core_share * _SAVED_S)
        self._seen_s = now_s
        return self._allowed_s > 0

    def spend(self, seconds: float) -> None:
        """Take the processor time that a piece of work took."""
        self._allowed_s -= seconds


class Challengers(_Candidates[Challenger]):
    """The challengers of a worker's models, which score what a cycle judged.

    `steps` run a model, by its name; `metrics_of` gives the metrics under the name of a stage.
    """

    kind, key = "challenger", SHADOW

    def __init__(
        self,
        releases: ReleaseFold,
        steps: Mapping[str, ModelStep],
        load: Load[Challenger],
        metrics_of: Callable[[str], Metrics],
    ) -> None:
        super().__init__(releases, load)
        self._steps = steps
        self._metrics_of = metrics_of
        # By model the cap of its challenger, and how many posts a call may have.
        self._caps: dict[str, tuple[ProcessorCap, int]] = {}

    def score(self, work: WorkBatch, writer: Writer) -> None:
        """Score the posts of a cycle, after all steps; raises nothing of a challenger's."""
        posts = [
            event for event in work.latest if event.row >= 0 and event.row not in work.unjudged
        ]
        for model in tuple(self.running) if posts else ():
            # Once a challenger is released, there is no other version to compare it with.
            if self.running[model].model.version != self._steps[model].models[model]:
                self._score(model, work, posts, writer)

    def _wanted(self, model: str) -> _Wanted[Challenger] | None:
        offset, challenger = self._releases.challenger(model)
        if challenger is None:
            return None
        refusal = "" if model in BY_TEXT else f"`{model}` scores no posts by their text alone"
        return _Wanted(offset, challenger, refusal)

    def _run(self, model: str, candidate: TextModel, ms_a_post: float) -> None:
        most = min(_MOST_POSTS, max(1, int(_CALL_MS / max(ms_a_post, 1e-6))))
        self._caps[model] = ProcessorCap(self.running[model].record.core_share), most
        log.info("challenger of %s: %s scores in shadow", model, candidate.version)

    def _stop(self, model: str) -> None:
        del self._caps[model]

    def _score(
        self, model: str, work: WorkBatch, posts: Sequence[LatestEvent], writer: Writer
    ) -> None:
        running, metrics = self.running[model], self._metrics_of(model)
        cap, most = self._caps[model]
        if not cap.may_begin():
            metrics.add("feedmill_shadow_skipped_total", len(posts))
            return
        start = time.thread_time()
        try:
            chosen = _drawn(posts, most)
            batch, rows = work.posts, [event.row for event in chosen]
            if len(chosen) < len(posts):
                batch, rows = PostBatch([batch.posts[row] for row in rows]), [*range(len(rows))]
            values = values_of_rows(running.model, batch, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self._refuse(model, running.offset, f"stopped: {type(error).__name__}: {error}")
            return
        for event, value in zip(chosen, values.astype(np.float32).tolist(), strict=True):
            version, offset = running.model.version, event.record.offset
            post_id = work.posts.posts[event.row].post_id
            signal = Signal(post_id, offset, value, model, version, work.now_ms)
            writer.add(
                SHADOW_TOPIC,
                event.record.key,
                encode(signal),
                owner=TopicPartition("posts", event.partition),
            )
        seconds = time.thread_time() - start
        cap.spend(seconds)
        metrics.add("feedmill_shadow_posts_total", len(chosen))
        metrics.add("feedmill_shadow_skipped_total", len(posts) - len(chosen))
        metrics.add("feedmill_shadow_cpu_seconds_total", seconds)


def load_challenger(
    connection: Connection, closing: Event, store: Store | None, model: str, challenger: Challenger
) -> LoadedText:
    """Load a challenger as `load_candidate` does, if the topic `shadow` is as it must be.

    A record for a topic that is not there would make the transaction fail with all its signals.
    """
    try:
        found, posts = (
            connection.offsets.partition_count(topic, closing) for topic in (SHADOW_TOPIC, "posts")
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on without it
        return LoadedText(None, failure_reason(error))
    if found != posts:
        reason = f"the topic `{SHADOW_TOPIC}` has {found} partitions, `posts` has {posts}"
        return LoadedText(None, reason)
    return load_candidate(store, model, challenger)


def _drawn(posts: Sequence[LatestEvent], most: int) -> Sequence[LatestEvent]:
    """Return at most so many of the posts, by a hash of their keys, in their order."""
    if len(posts) <= most:
        return posts
    by_hash = sorted(range(len(posts)), key=lambda n: zlib.crc32(posts[n].record.key or b""))
    return [posts[n] for n in sorted(by_hash[:most])]
