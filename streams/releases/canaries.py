"""Has candidates judge the partitions of their canaries, beside the models in force.

    models ─► ReleaseFold ─► a thread: trial in another process, load ─► the step, between cycles

How a canary ends stands on `models`, so that all workers agree: `CanaryDecision` writes it.  A
candidate that fails here judges no more at once, and `instances` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import CANARY, Canary, ModelRelease
from feedmill.filters.registry import FILTERS
from feedmill.models.text_model import TextModel
from feedmill.rankers.registry import TEXT_RANKERS
from feedmill.streams.releases.background_loads import BackgroundLoads
from feedmill.streams.releases.loading import LoadedText
from feedmill.streams.releases.release_log import ReleaseFold
from feedmill.streams.worker.model_step import CanaryStep, HoldsModel

log = logging.getLogger(__name__)

# Engagement's values rest on counts that begin with what its model expected of a post.
CANARIED = (*FILTERS, *TEXT_RANKERS)

Load = Callable[[str, Canary], LoadedText]


@dataclass
class _Running:
    """A candidate that judges, and the canary that it belongs to."""

    model: TextModel
    offset: int
    canary: Canary


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

    def __init__(self, releases: ReleaseFold, steps: Mapping[str, CanaryStep], load: Load) -> None:
        self._releases = releases
        self._steps = steps
        self._load = load
        self._loads = BackgroundLoads[str, LoadedText]("canary")
        self._running: dict[str, _Running] = {}
        # By model the last canary that this worker refused or stopped, or that an alarm ended.
        self._refused: dict[str, int] = {}
        self._changed: set[str] = set()

    def versions(self, model: str) -> dict[str, str]:
        """Return the version of a model that judges its canary, by the model; empty if none."""
        running = self._running.get(model)
        return {} if running is None else {model: running.model.version}

    def sha256_of(self, model: str) -> str | None:
        """Return the sha256 of the version of a model that judges its canary; None if none does."""
        running = self._running.get(model)
        return None if running is None else running.canary.sha256

    def offset_of(self, model: str) -> int | None:
        """Return the record that began the canary whose candidate is loaded and judges."""
        running = self._running.get(model)
        return None if running is None else running.offset

    def holders(self) -> dict[str, HoldsModel]:
        """Return what judges some partitions, by the keys of its records."""
        found = {CANARY + model: self._steps[model].canary for model in self._running}
        return {key: canary for key, canary in found.items() if canary is not None}

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
        running = self._running.get(model)
        if running is None or release is None:
            return None
        tried = running.canary.sha256, running.canary.answers
        return running.model if tried == (release.sha256, release.answers) else None

    def changed(self, model: str) -> None:
        """Follow the last record about a model's canary, or the release that ended it."""
        last = self._releases.canaries.last(model)
        running = self._running.get(model)
        if running is not None and (last is None or last.offset != running.offset):
            self._end(model)
        if last is None:
            return
        if model not in self._steps:
            self._refuse(model, last.offset, f"`{model}` scores no posts by their text alone")
        elif not last.is_under_way:
            self._end(model)
            self._refuse(model, last.offset, f"went back: {last.reason}")
        elif self._refused.get(model, -1) < last.offset and model not in self._running:
            self._begin_to_load(model, last.offset, last.canary)

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
        failed = [name for name in self._running if self._steps[name].canary_failure()]
        for model in failed:
            offset, reason = self._running[model].offset, self._steps[model].canary_failure()
            self._end(model)
            self._refuse(model, offset, f"stopped: {reason}")
        return failed

    def close(self) -> None:
        self._loads.close()

    def _begin_to_load(self, model: str, offset: int, canary: Canary) -> None:
        if model not in self._loads:
            self._loads.begin(model, offset, partial(self._load, model, canary))

    def _begin(self, model: str, offset: int, canary: Canary, loaded: LoadedText) -> None:
        self._changed.add(model)
        if loaded.model is None:
            self._refuse(model, offset, loaded.reason)
            return
        self._running[model] = _Running(loaded.model, offset, canary)
        self._steps[model].begin_canary(loaded.model, range(canary.partitions))
        log.info(
            "canary of %s: %s judges %d of the partitions",
            model, loaded.model.version, canary.partitions,
        )  # fmt: skip

    def _end(self, model: str) -> None:
        if self._running.pop(model, None) is not None:
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
