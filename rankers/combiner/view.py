"""The combiner's materialised view: every post, signal and override, in columns.

One reader calls it with decoded records, in the order of each partition.  Records of
different topics may come in any order: the view is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.columns import (
    NO_POST,
    NO_SIGNAL,
    InternTable,
    PostColumns,
    SignalColumns,
)
from feedmill.rankers.combiner.gating import Decision, GateVerdict, decide_one, outcomes_of
from feedmill.rankers.combiner.overrides import ActiveOverride, OverrideTable

Rows = npt.NDArray[np.int32]
# In a mask of changes: the post itself, its overrides, or whether it is there at all.
POST_CHANGED = 1


def signal_bit(number: int) -> int:
    """The bit of the signal with this number (its place in `SignalNames.all`) in a mask."""
    return POST_CHANGED << (number + 1)


class PostGroup(NamedTuple):
    """Which feeds a post may be in: all that their settings match, but the author."""

    communities: tuple[str, ...]
    lang: str | None
    is_reply: bool


class PostView:
    """All posts of the window, one row each.

    Attributes
    ----------
    ids
        Post id by row; "" where the row is free.
    post, signals
        The columns.
    changed
        By row a mask of what changed since `take_changed`: `POST_CHANGED`, and
        `signal_bit(i)` for the i-th declared signal.
    """

    def __init__(self, names: SignalNames) -> None:
        self.names = names
        self.capacity = 0
        self.ids: list[str] = []
        self.post = PostColumns()
        self.signals = {name: SignalColumns(np.nan) for name in names.gates}
        self.signals |= {name: SignalColumns(0.0) for name in names.objectives}
        self.overrides = OverrideTable()
        self.authors = InternTable()
        self.groups = InternTable()
        self.models = InternTable()
        self.errors: dict[tuple[int, str], str] = {}
        self.changed: dict[int, int] = {}
        self._bit = {name: signal_bit(i) for i, name in enumerate(names.all)}
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        # By row and name the signals of versions yet to come, oldest first.
        self._early: dict[int, dict[str, list[Signal]]] = {}
        self._kept = 0

    def __len__(self) -> int:
        return len(self._rows)

    def row_of(self, post_id: str) -> int | None:
        """The row of a post that is known, else None."""
        return self._rows.get(post_id)

    def author_of(self, row: int) -> str:
        """The author of the post in this row, "" where there is no post."""
        number = int(self.post.author[row])
        return "" if number < 0 else str(self.authors.values[number])

    def update_post(self, post: Post | Deletion, offset: int, timestamp_ms: int) -> None:
        """Take a post, an edit or a deletion; `timestamp_ms` is the record's own."""
        if isinstance(post, Deletion):
            self._delete(post.post_id, offset)
            return
        row = self._row(post.post_id)
        columns = self.post
        if columns.offset[row] >= offset:
            return
        columns.offset[row] = offset
        columns.created_ms[row] = min(post.created_at_ms, timestamp_ms)
        columns.arrived_ms[row] = timestamp_ms
        columns.author[row] = self.authors.number(post.author_id)
        group = PostGroup(
            tuple(dict.fromkeys(post.communities or ())), post.lang, post.in_reply_to is not None
        )
        columns.group[row] = self.groups.number(group)
        self.changed[row] = self.changed.get(row, 0) | POST_CHANGED
        if row in self._early:
            self._take_early(row, offset)

    def _delete(self, post_id: str, offset: int) -> None:
        row = self._rows.get(post_id)
        if row is None or self.post.offset[row] >= offset:
            return
        early = self._early.get(row, {})
        self.free([row])
        # Signals about a version after the deletion go on waiting for it.
        for name, signals in early.items():
            for signal in signals:
                if signal.post_offset > offset:
                    self.update_signal(name, signal)

    def _take_early(self, row: int, offset: int) -> None:
        for name, signals in self._early.pop(row).items():
            for signal in signals:
                self._store(row, name, signal, offset)

    def update_signal(self, name: str, signal: Signal) -> None:
        """Take a signal; an older one than the last is ignored, one of a coming version waits."""
        row = self._row(signal.post_id)
        self._store(row, name, signal, int(self.post.offset[row]))

    def _store(self, row: int, name: str, signal: Signal, post_offset: int) -> None:
        early = self._early.get(row, {}).get(name)
        if early and signal.post_offset < early[-1].post_offset:
            return
        if signal.post_offset > post_offset:
            self._wait(row, name, signal)
            if post_offset == NO_POST:
                self.post.created_ms[row] = max(signal.at_ms, int(self.post.created_ms[row]))
            return
        column = self.signals[name]
        if signal.post_offset < column.offset[row]:
            return
        column.offset[row] = signal.post_offset
        column.at_ms[row] = signal.at_ms
        column.model[row] = self.models.number((signal.model, signal.version))
        if signal.value is not None:
            column.value[row] = signal.value
        elif name in self.names.gates:
            column.value[row] = np.nan
        if signal.error is not None:
            self.errors[row, name] = signal.error
        else:
            self.errors.pop((row, name), None)
        self.changed[row] = self.changed.get(row, 0) | self._bit[name]

    def _wait(self, row: int, name: str, signal: Signal) -> None:
        waiting = self._early.setdefault(row, {}).setdefault(name, [])
        # Each version keeps its last signal; a failure also keeps the last good value.
        while waiting and waiting[-1].post_offset == signal.post_offset:
            if waiting[-1].value is not None and signal.value is None:
                break
            waiting.pop()
        waiting.append(signal)

    def clear_signal(self, name: str, post_id: str) -> None:
        """Remove a signal that its stage withdrew."""
        row = self._rows.get(post_id)
        if row is None:
            return
        early = self._early.get(row, {})
        early.pop(name, None)
        if not early:
            self._early.pop(row, None)
            if self.post.offset[row] == NO_POST:
                self.free([row])
                return
        self.signals[name].clear(row)
        self.errors.pop((row, name), None)
        self.changed[row] = self.changed.get(row, 0) | self._bit[name]

    def update_override(self, key: OverrideKey, override: Override | None) -> None:
        """Set or withdraw an override."""
        self.overrides.update(key, override)
        self.touch(self.rows_about(key))

    def rows_about(self, key: OverrideKey) -> list[int]:
        """The rows of the posts that an override is about."""
        if key.kind == "post":
            row = self._rows.get(key.id)
            return [] if row is None else [row]
        number = self.authors.find(key.id)
        if number is None:
            return []
        rows: list[int] = np.flatnonzero(self.post.author == number).tolist()
        return rows

    def touch(self, rows: Sequence[int]) -> None:
        """Mark these rows as changed: they are decided, scored and written again."""
        for row in rows:
            self.changed[row] = self.changed.get(row, 0) | POST_CHANGED

    def take_changed(self) -> dict[int, int]:
        """What changed since the last call, by row; the caller owns it."""
        changed, self.changed = self.changed, {}
        return changed

    def free(self, rows: Sequence[int]) -> None:
        """Forget these posts; their rows are used again only after `recycle`."""
        for row in rows:
            self._rows.pop(self.ids[row], None)
            self._early.pop(row, None)
            self.changed[row] = POST_CHANGED
            for name in self.names.all:
                self.errors.pop((row, name), None)
        self.post.offset[rows] = NO_POST
        self.post.author[rows] = -1
        self.post.group[rows] = -1
        for column in self.signals.values():
            column.clear(rows)

    def recycle(self, rows: Sequence[int]) -> None:
        """Rows that were freed and that nothing refers to any more may hold other posts."""
        for row in rows:
            self.ids[row] = ""
        self._free.extend(rows)

    def prune(self) -> list[int]:
        """Forget authors and groups that have no post, once they are many; nothing may be changed.

        Returns the numbers of the groups that are forgotten, for others to use.
        """
        if len(self.authors) + len(self.groups) <= 2 * self._kept + 1024:
            return []
        self.authors.keep(self.post.author)
        forgotten = self.groups.keep(self.post.group)
        self._kept = len(self.authors) + len(self.groups)
        return forgotten

    def is_freed(self, row: int) -> bool:
        """Whether the post of this row was forgotten and the row not yet recycled."""
        return self._rows.get(self.ids[row]) != row

    def expired(self, cutoff_ms: int) -> list[int]:
        """Rows whose post, or waiting signals, are older than the cutoff."""
        used = np.fromiter(self._rows.values(), np.int32, len(self._rows))
        old: list[int] = used[self.post.created_ms[used] < cutoff_ms].tolist()
        return old

    def is_overridden(self, row: int) -> bool:
        """Whether some override is about the post in this row or its author."""
        return self.overrides.concerns(self.ids[row], self.author_of(row))

    def overrides_of(
        self, row: int, gates: Sequence[str], now_ms: int
    ) -> dict[str, ActiveOverride]:
        """By gate the override in force for the post in this row."""
        offset = int(self.post.offset[row])
        return self.overrides.in_force(self.ids[row], self.author_of(row), offset, gates, now_ms)

    def decide(self, row: int, gates: Mapping[str, GatePolicy], now_ms: int) -> Decision:
        """Decide the post in this row, with overrides, and say who decided."""
        verdicts = {name: self.verdict(row, name) for name in gates}
        overrides = self.overrides_of(row, tuple(gates), now_ms) if len(self.overrides) else {}
        arrived_ms = int(self.post.arrived_ms[row])
        return decide_one(gates, outcomes_of(gates, verdicts, overrides, arrived_ms, now_ms))

    def verdict(self, row: int, gate: str) -> GateVerdict:
        """The verdict of a gate on the present version of the post in this row."""
        column = self.signals[gate]
        if column.offset[row] == NO_SIGNAL or column.offset[row] != self.post.offset[row]:
            return GateVerdict.missing(gate)
        value = float(column.value[row])
        model, version = self.models.values[column.model[row]]
        return GateVerdict.of(gate, None if np.isnan(value) else value, model, version)

    def _row(self, post_id: str) -> int:
        row = self._rows.get(post_id)
        if row is None:
            if not self._free:
                self._grow()
            row = self._rows[post_id] = self._free.pop()
            self.ids[row] = post_id
            self.post.created_ms[row] = 0
        return row

    def _grow(self) -> None:
        before, self.capacity = self.capacity, max(1024, self.capacity * 3 // 2)
        self.ids.extend([""] * (self.capacity - before))
        self._free.extend(range(self.capacity - 1, before - 1, -1))
        self.post.grow(self.capacity)
        for column in self.signals.values():
            column.grow(self.capacity)
