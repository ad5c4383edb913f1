"""Candidates: versions that are tried beside the models in force, and released or sent back.

    models ─► ReleaseFold ─► a thread: trial in another process, load ─► the step, between cycles
    instances ─► how the versions differ, alarms ─► models: a candidate is released, or goes back

A candidate judges some partitions of `posts`, or none: then it scores live posts in shadow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from threading import Event
from typing import NamedTuple, cast

import msgspec

from feedmill.events.decode import encode
from feedmill.events.errors import BadArtifact
from feedmill.events.instance import ComparedPosts, Instance, RunningCandidate
from feedmill.events.release import CANDIDATE, Candidate, ModelRelease
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.releases.candidate_verdict import Verdict, verdict
from feedmill.streams.releases.loading import load_tried
from feedmill.streams.releases.newest_releases import NewestReleases
from feedmill.streams.releases.release_log import Released, ReleaseFold, StartedCandidate
from feedmill.streams.scoring.candidate_scoring import NOTE, SHADOW_TOPIC, CandidateScoring
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import Writer

log = logging.getLogger(__name__)

# The partition whose owner decides how a candidate ends.
FIRST = 0
# After this time a decision that has not come back on `models` is written again.
_AGAIN_AFTER_MS = 15_000

Send = Callable[[bytes, bytes], None]


class TriedModel(NamedTuple):
    """A warm model, and its milliseconds of processor a post in the trial."""

    model: TextModel
    ms_a_post: float


Load = Callable[[str, Candidate], TriedModel]


class Candidates:
    """The candidates of a worker's models, at most one a model; belongs to the loop's thread.

    `steps` score by text, by the name of the model; `load` tries and loads a version on a thread.
    How a candidate ends stands on `models`, so that all workers agree: see `CandidateDecision`.
    A candidate that fails is stopped at once, and `instances` says why, which is an alarm.
    """

    def __init__(
        self, releases: ReleaseFold, steps: Mapping[str, TextModelStep], load: Load
    ) -> None:
        self._releases = releases
        self._steps = steps
        self._load = load
        self.newest = NewestReleases[str, TriedModel](
            releases, lambda key: partial(self._load_release, key), self._put, "candidate"
        )
        # By model and owned partition what stands beside the offset of `posts`.
        self._notes: dict[tuple[str, int], str] = {}

    @property
    def running(self) -> Mapping[str, CandidateScoring]:
        """The candidates that are loaded, by model."""
        steps = self._steps.items()
        return {name: step.candidate for name, step in steps if step.candidate is not None}

    def heartbeat(self, model: str) -> dict[str, RunningCandidate]:
        """Return what `instances` says of the candidate of a model; empty if none runs."""
        step = self._steps.get(model)
        if step is None or (candidate := step.candidate) is None:
            return {}
        compared = dict(candidate.compared)
        return {model: RunningCandidate(candidate.model.version, candidate.offset, compared)}

    def is_settled(self) -> bool:
        """Return whether no candidate is being loaded; none is waited for whose store is away."""
        return not self.newest.busy()

    def dealt_with(self, model: str, offset: int) -> int:
        """Return `offset`, or the last record before that of a candidate which is being loaded."""
        return self.newest.dealt_with(offset, (CANDIDATE + model).__eq__)

    def swap_loaded(self, found: set[str]) -> set[str]:
        """Take the keys of new records of `models`; return the models whose candidates changed.

        Called in every cycle, after the records were read, and after a release took its candidate.
        """
        changed = set[str]()
        for name in self._steps:
            key = CANDIDATE + name
            if not found & {name, key} or not (latest := self._releases.latest(key)):
                continue
            if latest[0].release is None:
                self.newest.take_warm(key, None)
                changed.add(key)
            else:
                self.newest.want([key])
        changed |= self.newest.swap_loaded()
        return {key.removeprefix(CANDIDATE) for key in changed}

    def released(self, model: str, release: ModelRelease | None) -> TextModel | None:
        """Return the candidate if a release is that of its version, with the same answers.

        The candidate was tried and is warm, so it goes on while nothing is loaded again.
        """
        running = self.running.get(model)
        if running is None or running.failure or release is None:
            return None
        tried = running.record.sha256, running.record.answers
        return running.model if tried == (release.sha256, release.answers) else None

    def stop_failed(self) -> list[str]:
        """End the candidates that failed in this cycle; return their models."""
        failed = [name for name, candidate in self.running.items() if candidate.failure]
        for model in failed:
            self.newest.refuse(CANDIDATE + model, f"stopped: {self.running[model].failure}")
            self._steps[model].set_candidate(None)
        return failed

    def assigned(self, change: AssignmentChange) -> None:
        """Go on with the counts that stand beside the offsets of the partitions."""
        self._notes = {
            (name, partition): text
            for partition in change.owned
            for name in self._steps
            if (text := change.notes.get(TopicPartition("posts", partition), {}).get(NOTE + name))
        }
        for name, candidate in self.running.items():
            candidate.assigned(self._notes_of(name))

    def note(self, writer: Writer) -> None:
        """Commit how candidates differ beside the offsets of the posts by which they do.

        What stands there of a candidate that is not loaded yet stays.
        """
        if not (self._notes or self.running):
            return
        running = self.running
        places = {(name, p) for name, candidate in running.items() for p in candidate.compared}
        for name, partition in places | self._notes.keys():
            before, text = self._notes.get((name, partition), ""), ""
            if name in running:
                text = running[name].note(partition)
            elif (current := self._releases.candidate(name)) is not None:
                text = before if before.startswith(f"{current.offset} ") else ""
            if text != before:
                self._notes[name, partition] = text
                writer.note(TopicPartition("posts", partition), NOTE + name, text)

    def close(self) -> None:
        self.newest.close()

    def _notes_of(self, model: str) -> dict[int, str]:
        return {p: text for (name, p), text in self._notes.items() if name == model and text}

    def _load_release(self, key: str, wanted: Released[Candidate]) -> TriedModel | None:
        record = wanted.release
        return None if record is None else self._load(key.removeprefix(CANDIDATE), record)

    def _put(self, key: str, version: Released[Candidate], content: TriedModel | None) -> str:
        model = key.removeprefix(CANDIDATE)
        step, candidate = self._steps[model], None
        # A later record may name another candidate meanwhile.
        if content and version.release and version == self._releases.latest(key)[0]:
            candidate = CandidateScoring(
                content.model, version.offset, version.release, content.ms_a_post, step.hour
            )
            candidate.assigned(self._notes_of(model))
            log.info("candidate of %s: %s is tried", model, content.model.version)
        step.set_candidate(candidate)
        return ""


def load_candidate(
    connection: Connection, closing: Event, store: Store | None, model: str, candidate: Candidate
) -> TriedModel:
    """Load a version beside the model in force, as `load_tried`.

    Raises `BadArtifact`, too, if it is to score in shadow and the topic is not as it must be: a
    record for a topic that is not there would make the transaction fail with all its signals.
    """
    if not candidate.partitions:
        found, posts = (
            connection.offsets.partition_count(topic, closing) for topic in (SHADOW_TOPIC, "posts")
        )
        if found != posts:
            raise BadArtifact(
                f"the topic `{SHADOW_TOPIC}` has {found} partitions, `posts` has {posts}"
            )
    loaded, ms_a_post = load_tried(model, store, candidate)
    return TriedModel(cast(TextModel, loaded), ms_a_post)


class CandidateDecision:
    """Ends candidates: after an alarm, once the posts say enough, or when their time has passed.

    The owner of the first partition of `posts` decides.  Two owners at once do no harm: the first
    record that ends a candidate counts, and a later one is refused.

    `heartbeat` is called for every record of `instances`.  `models` can have candidates; `send`
    writes a key and a value to `models` and never waits.
    """

    def __init__(self, releases: ReleaseFold, models: Collection[str], send: Send) -> None:
        self._releases = releases
        self._models = tuple(models)
        self._send = send
        self._decides = False
        # By model and partition how a candidate that began at an offset differs.
        self._compared: dict[tuple[str, int], dict[int, ComparedPosts]] = {}
        self._decided_ms: dict[tuple[str, int], int] = {}

    def assigned(self, change: AssignmentChange) -> None:
        """Learn whether this worker decides."""
        self._decides = FIRST in change.owned

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance, stamped by the broker."""
        if not self._decides:
            return
        for model in self._models:
            current = self._releases.candidate(model)
            if current is not None:
                self._take_counts(model, current, instance)
                self._decide(model, current, instance, at_ms)

    def _take_counts(self, model: str, now: StartedCandidate, instance: Instance) -> None:
        """Keep the counts of a heartbeat: of two owners of one partition those of more posts.

        For some seconds a dead worker's heartbeat stands beside its heir's.
        """
        said = instance.candidates.get(model)
        if said is None or said.offset != now.offset:
            return
        kept = self._compared.setdefault((model, now.offset), {})
        for partition, counts in said.compared.items():
            is_possible = counts.posts >= max(
                counts.hidden_more + counts.hidden_less, counts.stopped_more + counts.stopped_less
            )
            if not is_possible or not 0 <= partition < (now.record.partitions or partition + 1):
                log.warning(
                    "impossible counts of the candidate of %s by %s/%s, partition %d",
                    model, instance.stage, instance.instance, partition,
                )  # fmt: skip
            elif counts.posts >= kept.get(partition, ComparedPosts()).posts:
                kept[partition] = counts

    def _decide(self, model: str, now: StartedCandidate, instance: Instance, at_ms: int) -> None:
        decided_ms = self._decided_ms.get((model, now.offset))
        if decided_ms is not None and at_ms < decided_ms + _AGAIN_AFTER_MS:
            return
        total = ComparedPosts()
        for counts in self._compared.get((model, now.offset), {}).values():
            total = total.plus(counts)
        found = outcome(model, now, total, alarm_in(instance, model, now), at_ms)
        if found.is_within is None:
            return
        self._decided_ms[model, now.offset] = at_ms
        log.info("candidate of %s that began at %d: %s", model, now.offset, found.reason)
        if found.is_within:
            self._send(model.encode(), encode(promoted(now, found.reason)))
        else:
            self._send((CANDIDATE + model).encode(), encode(ended(now, found.reason)))


def outcome(
    model: str, now: StartedCandidate, compared: ComparedPosts, alarm: str, at_ms: int
) -> Verdict:
    """Return whether a candidate is to be released (True) or to go back, and why; None: not yet.

    Whoever only scores in shadow, and is not to be released, goes back after an alarm alone.
    """
    record = now.record
    is_over = 0 < record.until_ms <= at_ms
    if alarm:
        return Verdict(False, alarm)
    if model not in FILTERS:
        # No gate, so time decides: it judged, and nobody raised an alarm.
        reason = f"no alarm in {compared.posts:,} posts"
        return Verdict(record.promotes if is_over else None, reason)
    found = verdict(record, compared)
    is_tried = record.promotes or record.partitions > 0
    if found.is_within is not None and is_tried and (record.promotes or not found.is_within):
        return found
    if is_over:
        return Verdict(False, f"its time has passed: {found.reason}")
    return Verdict(None, found.reason)


def alarm_in(instance: Instance, model: str, now: StartedCandidate) -> str:
    """Return why a heartbeat ends a candidate; "" if it does not.

    The reasons are a refusal or a failure of the candidate, and drift of the model's values unless
    it is about another version.
    """
    name = f"{instance.stage}/{instance.instance}"
    for refusal in instance.refused_releases:
        if (refusal.model, refusal.offset) == (CANDIDATE + model, now.offset):
            return f"{name}: {refusal.reason}"
    for drift in instance.drift if now.record.partitions else ():
        if (
            drift.model == model
            and drift.state == "drift"
            and drift.version in ("", now.record.version)
        ):
            return f"{name}: drift: {drift.quantity}: {drift.reason}"
    return ""


def promoted(now: StartedCandidate, reason: str) -> ModelRelease:
    """Return the release of a candidate's version."""
    record = now.record
    note = f"{record.note}; {reason}" if record.note else reason
    return ModelRelease(record.sha256, record.answers, record.by, note[:4096], candidate=now.offset)


def ended(now: StartedCandidate, reason: str) -> Candidate:
    """Return the record that ends a candidate for a reason."""
    record: Candidate = msgspec.structs.replace(now.record, ends=now.offset, reason=reason[:4096])
    return record
