"""What is done to all rows of the view: in parts, so that none of millions holds the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from feedmill.rankers.combiner.columns import NO_POST, Flags
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.gating import SHOW
from feedmill.rankers.combiner.pending_writes import PendingWrites
from feedmill.rankers.combiner.view import PostView
from feedmill.tables.mapped_column import MappedColumn

# Of columns: a millisecond or two.
_PASSED_ROWS = 1 << 19
_TOUCHED_ROWS = 512
_ENDED_OVERRIDES = 256


def is_other(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8], part: slice) -> Flags:
    """Of which posts the written decision may be another: those that are or were not shown."""
    flags: Flags = (before[part] != SHOW) | (now[part] != SHOW)
    return flags


def lacking(
    view: PostView, names: Collection[str], before_ms: int
) -> Generator[None, None, Collection[str]]:
    """Return those signals that a post lacks whose record came before that time.

    It looks among some rows, a millisecond or two, each time that it is asked to go on.
    """
    found, post = set[str](), view.post
    for first in range(0, view.capacity if names else 0, _PASSED_ROWS):
        if first:
            yield
        part = slice(first, first + _PASSED_ROWS)
        posts = (post.offset[part] != NO_POST) & (post.arrived_ms[part] < before_ms)
        found |= {n for n in names if (posts & ~view.signals[n].is_current(part)).any()}
    return found


class RowPasses:
    """Passes over all rows, one after the other; true while one has parts left.

    A pass is about the rows that there are when it is added: those that come later count as
    changed anyway.
    """

    def __init__(self, view: PostView, pending: PendingWrites) -> None:
        self._view = view
        self._pending = pending
        self._passes: deque[Iterator[None]] = deque()
        self._grace_ms = 0  # up to then ends of grace were searched for
        self._is_ending_grace = False

    def __bool__(self) -> bool:
        return bool(self._passes)

    def go_on(self) -> None:
        """Do the next part, a millisecond or two."""
        if next(self._passes[0], self) is self:
            self._passes.popleft()

    def note_groups(self, column: MappedColumn[np.int32]) -> None:
        """Have a column say of which group each post is, -1 where there is none."""
        self._passes.append(self._note_groups(column))

    def touch_all(self) -> None:
        """Have all posts decided and scored again."""
        self._passes.append(self._touch_all())

    def end_overrides(self, now_ms: int) -> None:
        """Have posts decided again whose overrides ran out, the first of them at once."""
        ended = self._end_overrides(now_ms)
        if next(ended, self) is not self:
            self._passes.append(ended)

    def end_grace(self, decisions: Iterable[GateDecisions], now_ms: int) -> None:
        """Have posts decided again that an open gate held until now, the first of them at once.

        While they are searched for, no further search begins: the next one is for all that end
        meanwhile.
        """
        if self._is_ending_grace:
            return
        since_ms, self._grace_ms = self._grace_ms, now_ms
        ended = self._end_grace([d for d in decisions if d.has_open_gate], since_ms, now_ms)
        if next(ended, self) is not self:
            self._passes.append(ended)

    def mark_later(
        self, mask: int | None = None, among: Callable[[slice], Flags] | None = None
    ) -> None:
        """Have posts written again, all of them or those `among` is true of; see `PendingWrites`.

        `among` is given slices of rows, and returns an array of their shape.
        """
        self._pending.grow(self._view.capacity)
        marked = (
            (part, self._is_live(part) if among is None else self._is_live(part) & among(part))
            for part in self._parts(_PASSED_ROWS)
        )
        self._passes.append(self._pending.mark_later(marked, mask))

    def _parts(self, rows_at_once: int) -> Iterator[slice]:
        capacity = self._view.capacity
        starts = range(0, capacity, rows_at_once)
        return (slice(start, min(start + rows_at_once, capacity)) for start in starts)

    def _is_live(self, part: slice) -> Flags:
        """For each of these rows whether it holds a post."""
        is_live: Flags = self._view.post.offset[part] != NO_POST
        return is_live

    def _note_groups(self, column: MappedColumn[np.int32]) -> Iterator[None]:
        for part in self._parts(_PASSED_ROWS):
            column.grow(self._view.capacity)
            column.values[part] = np.where(self._is_live(part), self._view.post.group[part], -1)
            yield

    def _touch_all(self) -> Iterator[None]:
        for part in self._parts(_TOUCHED_ROWS):
            self._view.touch(np.flatnonzero(self._is_live(part)) + part.start)
            yield

    def _end_grace(
        self, of_gates: Sequence[GateDecisions], since_ms: int, now_ms: int
    ) -> Iterator[None]:
        self._is_ending_grace = True
        for decisions in of_gates:
            for part in self._parts(_PASSED_ROWS):
                rows = decisions.grace_ended(part, since_ms, now_ms)
                for first in range(0, len(rows), _TOUCHED_ROWS):
                    self._view.touch(rows[first : first + _TOUCHED_ROWS])
                    yield
                yield
        self._is_ending_grace = False

    def _end_overrides(self, now_ms: int) -> Iterator[None]:
        ended = self._view.overrides.take_expired(now_ms)
        while keys := list(islice(ended, _ENDED_OVERRIDES)):
            for key in keys:
                self._view.touch(self._view.overridden.follow(key))
            yield
