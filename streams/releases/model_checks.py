"""Finds models that say something else than when they were loaded, or whose memory has changed.

    models, lists, tables ─► checksums, known answers ─► again each minute ─► altered: it is stopped

A model that was altered is stopped as if it raised on every post.  Nothing of a check is written.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from feedmill.features.post_batch import PostBatch
from feedmill.features.text.interleaved_weights import InterleavedWeights
from feedmill.filters.lists import PostList
from feedmill.models.text_model import Scores
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases.known_answers import TOLERANCE, WORKER_POSTS, values_of
from feedmill.streams.releases.served_memory import MemorySlice, module_roots, slices_of, uncalled
from feedmill.streams.worker.model_step import HoldsModel, ModelStep

log = logging.getLogger(__name__)

# A round is spread over most of a minute; what is due of it takes about so long at a time.
ROUND_S = 55.0
_TURN_S = 0.001

Positions = Mapping[TopicPartition, int]


class StoppedModel:
    """Stands for a model that was altered until it is loaded anew: raises on every post.

    In every call that steps make of a text or an engagement model; `reason` says what was altered.
    """

    def __init__(self, model: Any, reason: str) -> None:
        self.name = model.name
        self.version = model.version
        self.reason = reason

    def _fail(self, *_: object) -> NoReturn:
        raise RuntimeError(self.reason)

    score_many = score_batch = prior_many = prior_batch = variance_many = _fail


class _KnownAnswers:
    """What one model says of the posts of `known_answers`.

    `first` has what each version said first, by its name and version: where code was altered, a
    model that is loaded anew says the same as before.
    """

    def __init__(
        self, holder: HoldsModel, interleaved: InterleavedWeights, first: dict[Any, Scores]
    ) -> None:
        self.holder = holder
        self._interleaved = interleaved
        self._first = first

    def failure(self) -> str:
        posts = PostBatch(WORKER_POSTS)
        posts.interleaved = self._interleaved.kept()
        try:
            values = values_of(self.holder.model, posts)
        except Exception as error:  # noqa: BLE001 - where it raises on posts, its signals say so
            log.debug("no known answers: %r", error)
            return ""
        loaded = self.holder.loaded
        expected = self._first.setdefault((loaded.name, loaded.version), values)
        if values.shape != expected.shape:
            return f"{values.size} known answers, there were {expected.size}"
        # Another batch may round otherwise; NaN is not close to any number.
        is_close = np.abs(values - expected) <= TOLERANCE
        if is_close.all():
            return ""
        at = int(is_close.argmin())
        return f"known answer {at} is {values[at]:.9g}, it was {expected[at]:.9g}"


# A check that takes a millisecond or two at most; the first one keeps what it found.
_Piece = MemorySlice | _KnownAnswers


@dataclass(eq=False)
class _Checked:
    """Something that never changes once loaded, its checks, and which models an alteration stops.

    `answers` are those of a model.
    """

    root: object
    pieces: list[_Piece]
    answers: _KnownAnswers | None = None
    stops: Iterable[str] = ()


class ModelChecks:
    """The checks of all that judges posts in a worker; belongs to the loop's thread.

    Parameters
    ----------
    holders
        Returns what judges by a model, by the model, `shadow/<model>` or `canary/<model>`.
    lists
        Returns the lists in force.
    load_again
        Has the version in force of a model loaded anew.
    metrics_of
        Gives the metrics under the name of a stage.

    Attributes
    ----------
    interleaved
        The weights of the models side by side, for the batches of the loop.
    """

    def __init__(
        self,
        holders: Callable[[], dict[str, HoldsModel]],
        lists: Callable[[], list[PostList]],
        load_again: Callable[[str], None],
        metrics_of: Callable[[str], Metrics],
    ) -> None:
        self.interleaved = InterleavedWeights()
        self._holders_now = holders
        self._lists = lists
        self._load_again = load_again
        self._metrics_of = metrics_of
        self._holders: dict[str, HoldsModel] = {}
        self._first: dict[Any, Scores] = {}
        roots = module_roots()
        self._uncalled = uncalled(roots)
        self._tables = _Checked(None, [*slices_of(roots)])
        # By the `id` of their roots, which they keep.
        self._checked: dict[int, _Checked] = {}
        self._fresh = deque((self._tables, piece) for piece in self._tables.pieces)
        self._round: deque[tuple[_Checked, _Piece]] = deque()
        self._due_at = self._pause_s = 0.0
        # When the last two rounds began, and before which posts.
        self._began = deque[tuple[float, Positions]]([(time.time(), {})], maxlen=2)

    def work(self, positions: Callable[[], Positions]) -> None:
        """Check what is due, for a millisecond or two; called in every cycle.

        `positions` says which posts come next.
        """
        now = time.monotonic()
        if now < self._due_at:
            return
        self._follow()
        end = time.thread_time() + _TURN_S
        while now >= self._due_at and time.thread_time() < end:
            if self._fresh:
                self._check(*self._fresh.popleft())
            elif self._round:
                self._check(*self._round.popleft())
                self._due_at += self._pause_s
            else:
                self._begin_round(positions())
                self._due_at = now + self._pause_s

    def ready_reason(self) -> str:
        """Say which model in force is stopped, and why; "" if none is."""
        for name, holder in self._holders.items():
            if isinstance(holder, ModelStep) and isinstance(holder.model, StoppedModel):
                return f"{name} judges nothing: {holder.model.reason}; restart the worker"
        return ""

    def _begin_round(self, positions: Positions) -> None:
        self._began.append((time.time(), dict(positions)))
        for name, value in [one for one in self._uncalled if one[1].cache_info().currsize]:
            self._uncalled.remove((name, value))
            pieces = slices_of([(f"{name}()", value())])
            self._tables.pieces += pieces
        every = (self._tables, *self._checked.values())
        self._round.extend((one, piece) for one in every for piece in one.pieces)
        self._pause_s = ROUND_S / (len(self._round) + 1)

    def _follow(self) -> None:
        """Know what serves at present; what is new is looked at at once."""
        self._holders = self._holders_now()
        steps = {name: one for name, one in self._holders.items() if isinstance(one, ModelStep)}
        before, self._checked = self._checked, {}
        for name, holder in self._holders.items():
            checked = self._keep(before, holder.loaded, (name, holder.loaded), [name])
            if checked.answers is None:
                checked.answers = _KnownAnswers(holder, self.interleaved, self._first)
                checked.pieces.append(checked.answers)
                self._fresh.append((checked, checked.answers))
            # A candidate that was promoted is held by the step.
            checked.answers.holder = holder
        for one in self._lists():
            self._keep(before, one, (one.label, one), [one.filter])
        layout = self.interleaved.present
        self._keep(before, layout, ("interleaved", layout.table), steps)
        self._tables.stops = steps
        for name, step in steps.items():
            is_stopped = isinstance(step.model, StoppedModel)
            self._metrics_of(name).set("feedmill_altered_models", float(is_stopped))

    def _keep(
        self,
        before: Mapping[int, _Checked],
        root: object,
        named: tuple[str, object],
        stops: Iterable[str],
    ) -> _Checked:
        """Keep on checking something, or begin to: its root, named, and whom it stops."""
        known = before.get(id(root))
        if known is None:
            known = _Checked(root, [*slices_of([named])])
            self._fresh.extend((known, piece) for piece in known.pieces)
        known.stops = stops
        self._checked[id(root)] = known
        return known

    def _check(self, checked: _Checked, piece: _Piece) -> None:
        is_current = checked is self._tables or self._checked.get(id(checked.root)) is checked
        failure = piece.failure() if is_current else ""
        if not failure:
            return
        is_layout = checked.root is self.interleaved.present
        if is_layout:
            self.interleaved.drop()
        for name in checked.stops:
            holder = self._holders[name]
            if not isinstance(holder.model, StoppedModel):
                self._stop(name, holder, f"altered in memory: {failure}")
                # A list or a table would be as it is.
                if isinstance(holder, ModelStep) and (is_layout or checked.answers is not None):
                    self._load_again(name)

    def _stop(self, name: str, holder: HoldsModel, reason: str) -> None:
        stopped = StoppedModel(holder.loaded, reason)
        since, positions = self._began[0]
        places = [f"{at.topic}[{at.partition}] from {n}" for at, n in sorted(positions.items())]
        log.error(
            "model %s@%s is stopped, %s; since %s UTC it may have judged posts wrongly: %s",
            name, stopped.version, reason, time.strftime("%F %T", time.gmtime(since)),
            ", ".join(places) or "all of them",
        )  # fmt: skip
        if isinstance(holder, ModelStep):
            holder.stop_model(stopped)
            self._metrics_of(name).set("feedmill_altered_models", 1.0)
            self._metrics_of(name).add("feedmill_alterations_total")
        else:
            # It raises at the next post, and then it is dropped as any candidate that does.
            holder.model = stopped
