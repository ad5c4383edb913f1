"""Keeps the models of a worker at their released versions, while posts flow.

    models ─► ReleaseLog ─► a thread: fetch, trial in another process, load ─► swap between cycles

It also keeps candidates beside these models, and the lists of filters.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

from feedmill.events.instance import Instance, RefusedRelease
from feedmill.events.release import ModelRelease
from feedmill.features.text.interleaved_weights import InterleavedWeights
from feedmill.models.store_files import Store
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection, RecordSender
from feedmill.streams.releases.candidates import CandidateDecision, Candidates, load_candidate
from feedmill.streams.releases.known_answers import AnyModel, KnownAnswers
from feedmill.streams.releases.loading import MODELS, load_released, shipped_sha256
from feedmill.streams.releases.newest_releases import ListReleases, NewestReleases, load_list
from feedmill.streams.releases.release_log import TOPIC, Released, ReleaseLog
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import HoldsModel, ModelStep, Step, WorkBatch, Writer

log = logging.getLogger(__name__)

_SHIPPED = Released[ModelRelease](-1, None)
_NOTE = "model."
# Releases are rare; a cycle without records should cost little.
_READ_EVERY_S = 0.05


class ModelReleases:
    """Follows the releases of the models that a worker's steps run.

    `follow` is called in every cycle, `assigned` at a rebalance, `judged` when the steps have
    judged posts, `heartbeat` for each record of `instances`.  `store` has the artifacts, None: the
    shipped ones.

    Attributes
    ----------
    swaps
        How many models replaced another version so far.
    candidates
        The versions that are tried beside the models in force.
    lists
        The lists of its filters.
    known_answers
        Whether all of these models say what they said when they were loaded.
    interleaved
        The weights of the models side by side, for the batches of the loop.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store | None,
        steps: Sequence[Step],
    ) -> None:
        self._store = store
        self._steps = {step.name: step for step in steps if isinstance(step, ModelStep)}
        self._releases = ReleaseLog(connection, MODELS)
        self._closing = threading.Event()
        tried = {step.name: step for step in steps if isinstance(step, TextModelStep)}
        load = partial(load_candidate, connection, self._closing, store)
        self.candidates = Candidates(self._releases, tried, load)
        self._sender = RecordSender(connection, TOPIC)
        self._decision = CandidateDecision(self._releases, tuple(tried), self._sender.send)
        takers = {step.name: step for step in steps if isinstance(step, FilterStep)}
        self.lists = ListReleases(self._releases, takers, partial(load_list, store))
        self.interleaved = InterleavedWeights()
        self.known_answers = KnownAnswers(self._holders, self.interleaved)
        self._newest = NewestReleases[str, AnyModel](
            self._releases, self._load_of, self._put, "release"
        )
        # Models whose versions are noted beside offsets: they were released, or had a candidate.
        self._noted: set[str] = set()
        self._notes: dict[tuple[int, str], str] = {}
        self._read_at = 0.0
        self._has_begun = False
        self.swaps = 0

    @property
    def refused(self) -> tuple[RefusedRelease, ...]:
        """The last releases that this worker refused, with the reasons."""
        return tuple(self._releases.refused)

    @property
    def waiting(self) -> tuple[RefusedRelease, ...]:
        """The releases that the store does not give at present, with the reasons."""
        parts = self._newest, self.candidates.newest, self.lists.newest
        away = chain.from_iterable(part.away.items() for part in parts)
        return tuple(RefusedRelease(str(key), wait.offset, wait.reason) for key, wait in away)

    @property
    def refused_count(self) -> int:
        return self._releases.refused_count

    def offset(self, stage: str) -> int:
        """Return the last record of `models` that a stage has dealt with."""
        read = self._newest.dealt_with(self._releases.offset, stage.__eq__)
        return self.candidates.dealt_with(stage, self.lists.dealt_with(stage, read))

    def in_use(self) -> list[tuple[str, str]]:
        """Return name and sha256 of every version that judges posts."""
        found = []
        for name in self._steps:
            release = self._newest.in_force.get(name, _SHIPPED).release
            found.append((name, shipped_sha256(name) if release is None else release.sha256))
        return found + [(name, one.record.sha256) for name, one in self.candidates.running.items()]

    def is_settled(self) -> bool:
        """Return whether posts may come: `models` is read to its end, and at the start loaded.

        After the start no partition waits for a model that is being loaded: the old one goes on.
        """
        if not self._releases.log.all_restored():
            return False
        # A store that does not answer holds posts back, too: only the released version may serve.
        is_loaded = not (self._newest.busy() or self._newest.away) and self.candidates.is_settled()
        self._has_begun |= is_loaded and self.lists.is_settled()
        return self._has_begun

    def lists_complete(self) -> bool:
        """Return whether `models` is read to its end, and no released list waits to be loaded."""
        return self._releases.log.all_restored() and self.lists.is_settled()

    def ready_reason(self) -> str:
        """Say what is still to be done before the first posts; "" if nothing is."""
        busy = () if self._has_begun else sorted(self._newest.busy() | self._newest.away.keys())
        if busy:
            return f"loading released models: {', '.join(busy)}"
        if not self._has_begun and not self.candidates.is_settled():
            return "loading candidates"
        if not self._has_begun and not self.lists.is_settled():
            return "loading released lists"
        stopped = (
            f"{step.name} judges nothing: {step.model.reason}; restart the worker"
            for step in self._steps.values()
            if step.is_stopped
        )
        return self._releases.log.ready_reason() or next(stopped, "")

    def follow(self) -> set[str]:
        """Read on, and swap what is loaded; return the models that changed, or were refused.

        Those whose candidates or lists changed are among them.
        """
        now = time.monotonic()
        found = set[str]()
        if now >= self._read_at:
            self._read_at = now + _READ_EVERY_S
            found = self._releases.follow()
            self._newest.want(found & self._steps.keys())
            for name in found & self._steps.keys():
                self._take_promoted(name)
            self._sender.serve()
        candidates = self.candidates.swap_loaded(found)
        self._noted |= candidates
        return candidates.union(self.lists.swap_loaded(found), self._newest.swap_loaded())

    def assigned(self, change: AssignmentChange) -> None:
        """Read to the end once more, and learn which versions the partitions were judged by."""
        self._releases.log.restore_again()
        self._decision.assigned(change)
        self.candidates.assigned(change)
        self._notes = {
            (partition, name): text
            for partition in change.owned
            for name in self._steps
            if (text := change.notes.get(TopicPartition("posts", partition), {}).get(_NOTE + name))
        }
        self._noted |= {name for _, name in self._notes}

    def note(self, positions: Callable[[], Mapping[TopicPartition, int]], writer: Writer) -> None:
        """Commit beside each partition's offset which version judges its posts, and from where.

        Called before the posts of a cycle are judged; `positions` returns their first offsets.
        """
        if self._noted:
            begins = {at.partition: n for at, n in positions().items() if at.topic == "posts"}
            for name in self._noted:
                for partition, offset in begins.items():
                    self._note(name, partition, offset, writer)

    def judged(self, work: WorkBatch, writer: Writer) -> bool:
        """Note how candidates differ; return whether one failed on what was judged.

        Where one failed, the model in force has judged all posts of this cycle.
        """
        failed = self.candidates.stop_failed() if self.candidates.running else ()
        for name in failed:
            for part in work.partitions:
                self._note(name, part.source.partition, part.events[0][0].offset, writer)
        self.candidates.note(writer)
        return bool(failed)

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance, stamped by the broker at `at_ms`."""
        self._decision.heartbeat(instance, at_ms)

    def close(self) -> None:
        self._closing.set()
        self.candidates.close()
        self.lists.close()
        self._newest.close()
        self._releases.close()

    def _holders(self) -> list[HoldsModel]:
        """Return what judges or scores posts by a model."""
        return [*self._steps.values(), *self.candidates.running.values()]

    def _note(self, name: str, partition: int, offset: int, writer: Writer) -> None:
        version, key = self._steps[name].version_at(partition), (partition, name)
        if self._notes.get(key, "").partition(" ")[0] != version:
            self._notes[key] = f"{version} {offset}"
            writer.note(TopicPartition("posts", partition), _NOTE + name, self._notes[key])

    def _take_promoted(self, name: str) -> None:
        """Put a release in force at once if its version is the candidate: that model is warm."""
        released = self._releases.latest(name)
        model = self.candidates.released(name, released[0].release) if released else None
        if model is not None:
            self._newest.take_warm(name, model)

    def _load_of(self, name: str) -> Callable[[Released[ModelRelease]], AnyModel | None]:
        step = self._steps[name]
        current = "" if step.is_stopped else step.models[name]
        return partial(load_released, name, self._store, current)

    def _put(self, name: str, _: Released[ModelRelease], model: AnyModel | None) -> str:
        """Swap the model of a step, if it is another version than before."""
        step = self._steps[name]
        self._noted.add(name)
        if model is not None:
            before = step.models[name]
            step.swap(model)
            self.swaps += 1
            log.info("model %s: %s instead of %s", name, step.models[name], before)
        return ""
