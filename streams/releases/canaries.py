"""The canaries of a worker: candidates judge some partitions beside the models in force.

    models ─► ReleaseFold ─► a thread: trial in another process, load ─► the step, between cycles
    instances ─► the time that passed, alarms ─► models: promoted, or back

How a canary ends stands on `models`, so that all workers agree.  The owner of the first partition
of `posts` decides it, which every canary has.  Two owners at once do no harm: the first record that
ends a canary counts, and a later one about it is refused.  A candidate that fails judges no more at
once, and `instances` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import CANARY, Canary, ModelRelease
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.releases.background_loads import BackgroundLoads
from feedmill.streams.releases.loading import LoadedText
from feedmill.streams.releases.release_log import ReleaseFold, StartedCanary
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import Writer

log = logging.getLogger(__name__)

# The partition whose owner decides; it is in every canary.
FIRST = 0
_NOTE = "canary."
# A longer time between two heartbeats is one in which nobody watched: so much of it counts.
_MOST_STEP_MS = 15_000
# A decision that does not appear on `models` is written again.
_AGAIN_AFTER_MS = 15_000
# Each note is a transaction where nothing else is written.
_NOTE_EVERY_MS = 5_000

Load = Callable[[str, Canary], LoadedText]
Send = Callable[[bytes, bytes], None]


@dataclass
class _Running:
    """A candidate that judges, and the record that began its canary."""

    model: TextModel
    offset: int
    record: Canary


class Canaries:
    """The canaries of a worker's models, at most one a model; belongs to the loop's thread.

    Parameters
    ----------
    releases
        Which canaries are under way; who feeds it tells `changed`.
    steps
        The steps of the worker that can run two versions, by the name of the model.
    load
        Tries and loads a candidate; called on a thread of its own.
    """

    def __init__(
        self, releases: ReleaseFold, steps: Mapping[str, TextModelStep], load: Load
    ) -> None:
        self._releases = releases
        self._steps = steps
        self._load = load
        self._loads = BackgroundLoads[str, LoadedText]("canary")
        self.running: dict[str, _Running] = {}
        # By model the last canary that this worker refused or stopped, or that an alarm ended.
        self._refused: dict[str, int] = {}
        self._changed: set[str] = set()

    def versions(self, model: str) -> dict[str, str]:
        """Return the version of a model that judges its canary, by the model; empty if none."""
        running = self.running.get(model)
        return {} if running is None else {model: running.model.version}

    def offset_of(self, model: str) -> int | None:
        """Return the record that began the canary whose candidate is loaded and judges."""
        running = self.running.get(model)
        return None if running is None else running.offset

    def is_settled(self) -> bool:
        """Return whether every canary under way has its candidate, or refused it."""
        return not self._loads

    def dealt_with(self, model: str, offset: int) -> int:
        """Return the last record up to `offset` behind which no candidate waits to be loaded."""
        return self._loads.dealt_with(offset, lambda one: one == model)

    def released(self, model: str, release: ModelRelease | None) -> TextModel | None:
        """Return the candidate if a release is that of its version, with the same answers.

        It was tried and is warm, so its partitions need not go back while it is loaded again.
        """
        running = self.running.get(model)
        if running is None or release is None:
            return None
        tried = running.record.sha256, running.record.answers
        return running.model if tried == (release.sha256, release.answers) else None

    def changed(self, model: str) -> None:
        """Follow the last record about a model's canary, or the release that ended it."""
        last = self._releases.canaries.last(model)
        running = self.running.get(model)
        if running is not None and (last is None or last.offset != running.offset):
            self._end(model)
        if last is None:
            return
        if model not in self._steps:
            self._refuse(model, last.offset, f"`{model}` scores no posts by their text alone")
        elif not last.is_under_way:
            self._end(model)
            self._refuse(model, last.offset, f"went back: {last.reason}")
        elif last.offset > self._refused.get(model, -1) and model not in {
            *self.running,
            *self._loads.keys(),
        }:
            self._loads.begin(model, last.offset, partial(self._load, model, last.canary))

    def follow(self) -> set[str]:
        """Take what is loaded; return the models whose canaries began, ended or were refused.

        Called in every cycle.
        """
        for model, offset, loaded in self._loads.take_done():
            current = self._releases.canaries.current(model)
            if current is not None and current.offset == offset:
                self._begin(model, offset, current.canary, loaded)
            else:
                # Another one began meanwhile, or none is under way.
                self.changed(model)
        changed, self._changed = self._changed, set()
        return changed

    def stop_failed(self) -> list[str]:
        """End the canaries whose candidates failed in this cycle; return their models.

        `instances` then has the reason, which is an alarm.
        """
        failed = [name for name in self.running if self._steps[name].canary_failure()]
        for model in failed:
            offset, reason = self.running[model].offset, self._steps[model].canary_failure()
            self._end(model)
            self._refuse(model, offset, f"stopped: {reason}")
        return failed

    def close(self) -> None:
        self._loads.close()

    def _begin(self, model: str, offset: int, canary: Canary, loaded: LoadedText) -> None:
        self._changed.add(model)
        if loaded.model is None:
            self._refuse(model, offset, loaded.reason)
            return
        self.running[model] = _Running(loaded.model, offset, canary)
        self._steps[model].begin_canary(loaded.model, range(canary.partitions))
        log.info(
            "canary of %s: %s judges %d of the partitions",
            model, loaded.model.version, canary.partitions,
        )  # fmt: skip

    def _end(self, model: str) -> None:
        if self.running.pop(model, None) is not None:
            self._steps[model].end_canary()
            self._changed.add(model)

    def _refuse(self, model: str, offset: int, reason: str) -> None:
        """Keep why a candidate does not judge, once a canary."""
        if self._refused.get(model, -1) >= offset:
            return
        self._refused[model] = offset
        self._changed.add(model)
        log.error("canary of %s that began at offset %d: %s", model, offset, reason)
        self._releases.refuse(CANARY + model, offset, reason[:MAX_REASON_CHARACTERS])


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
        """Return the note of it, which changes every five seconds."""
        if self.counted_ms >= self._noted_ms + _NOTE_EVERY_MS:
            self._noted_ms = self.counted_ms
        return f"{self.offset} {self._noted_ms}"


class CanaryDecision:
    """Belongs to the loop's thread: `heartbeat` for every record of `instances`, `note` a cycle.

    Beside the offset of the first partition the note ``canary.<model>`` has the canary's offset
    and the milliseconds that count, so that whoever takes over goes on.

    Parameters
    ----------
    models
        Those of the worker that can have a canary.
    send
        Writes a key and a value to `models`; never waits.
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

    That is a refusal or a failure of its candidate, or drift of what the model writes, but for
    quantities of another version.
    """
    name = f"{instance.stage}/{instance.instance}"
    for refusal in instance.refused_releases:
        if (refusal.model, refusal.offset) == (CANARY + model, canary.offset):
            return f"{name}: {refusal.reason}"
    for one in instance.drift:
        if (
            one.model == model
            and one.state == "drift"
            and one.version in ("", canary.canary.version)
        ):
            return f"{name}: drift: {one.quantity}: {one.reason}"
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
