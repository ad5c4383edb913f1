"""Decides how a canary ends, and writes it to `models`: promoted, or back to the model in force.

    instances ─► the time that passed, alarms ─► models

The owner of the first partition of `posts` decides, which every canary has.  Two owners at once do
no harm: the first record that ends a canary counts, and a later one about it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import msgspec

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.events.release import CANARY, Canary, ModelRelease
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.releases.canaries import Canaries
from feedmill.streams.releases.canary_fold import StartedCanary
from feedmill.streams.releases.release_log import ReleaseFold
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

Send = Callable[[bytes, bytes], None]


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
        notes = change.notes.get(FIRST, {})
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
                writer.note(FIRST, _NOTE + model, text)

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
