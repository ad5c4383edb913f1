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
from feedmill.rankers.combiner.change_queue import ChangeQueue, Masks
from feedmill.rankers.combiner.columns import (
    NEVER_MS,
    NO_POST,
    NO_SIGNAL,
    InternTable,
    PostColumns,
    SignalColumns,
)
from feedmill.rankers.combiner.gating import Decision, GateVerdict, decide_one, outcomes_of
from feedmill.rankers.combiner.id_table import IdTable
from feedmill.rankers.combiner.mapped_column import in_chunks
from feedmill.rankers.combiner.overrides import ActiveOverride, OverrideTable

Rows = npt.NDArray[np.int32]
_EXPIRY_ROWS = 1 << 17
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
    capacity
        How many rows the columns have.
    ids
        Post id by row; "" where the row is free.
    post, signals
        The columns.
    """

    def __init__(self, names: SignalNames) -> None:
        self.names = names
        self.capacity = 0
        self.ids = IdTable()
        self.post = PostColumns()
        self.signals = {name: SignalColumns(np.nan) for name in names.gates}
        self.signals |= {name: SignalColumns(0.0) for name in names.objectives}
        self.overrides = OverrideTable()
        self.authors = IdTable()
        self.groups = InternTable()
        self.models = InternTable()
        self.errors: dict[tuple[int, str], str] = {}
        self._changes = ChangeQueue(len(names.all) + 1)
        self._bit = {name: signal_bit(i) for i, name in enumerate(names.all)}
        self._freed: set[int] = set()
        self._expiry_from = 0
        # By row and name the signals of versions yet to come, oldest first.
        self._early: dict[int, dict[str, list[Signal]]] = {}
        self._kept = 0

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, post_id: str) -> int | None:
        """The row of a post that is known, else None."""
        return self.ids.find(post_id)

    def rows_of(self, post_ids: Sequence[str]) -> Rows:
        """The row of each post, -1 where it is not known."""
        return self.ids.find_many(post_ids)

    def author_of(self, row: int) -> str:
        """The author of the post in this row, "" where there is no post."""
        number = int(self.post.author[row])
        return "" if number < 0 else self.authors[number]

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
        columns.author[row] = self.authors.add(post.author_id)
        group = PostGroup(
            tuple(dict.fromkeys(post.communities or ())), post.lang, post.in_reply_to is not None
        )
        columns.group[row] = self.groups.number(group)
        self._changes.add(row, POST_CHANGED)
        if row in self._early:
            self._take_early(row, offset)

    def _delete(self, post_id: str, offset: int) -> None:
        row = self.ids.find(post_id)
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
        self._changes.add(row, self._bit[name])

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
        row = self.ids.find(post_id)
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
        self._changes.add(row, self._bit[name])

    def update_override(self, key: OverrideKey, override: Override | None) -> None:
        """Set or withdraw an override."""
        self.overrides.update(key, override)
        self.touch(self.rows_about(key))

    def rows_about(self, key: OverrideKey) -> Rows:
        """The rows of the posts that an override is about."""
        if key.kind == "post":
            row = self.ids.find(key.id)
            return np.array([] if row is None else [row], np.int32)
        number = self.authors.find(key.id)
        if number is None:
            return np.empty(0, np.int32)
        return np.flatnonzero(self.post.author == number).astype(np.int32)

    def live_rows(self) -> Rows:
        """The rows that hold a post."""
        return np.flatnonzero(self.post.offset != NO_POST).astype(np.int32)

    def touch(self, rows: Rows | Sequence[int]) -> None:
        """Mark these rows, each once, as changed: they are decided, scored and written again."""
        self._changes.add_many(np.asarray(rows, np.int32), POST_CHANGED)

    @property
    def changes(self) -> int:
        """How many rows changed and were not taken yet."""
        return len(self._changes)

    @property
    def has_changes(self) -> bool:
        """Whether some row changed and was not taken yet."""
        return len(self._changes) > 0

    def take_changed(self, most: int | None = None) -> tuple[Rows, Masks]:
        """The rows that changed first, at most `most`, and what changed in each.

        A mask has `POST_CHANGED`, and `signal_bit(i)` for the i-th declared signal.
        """
        return self._changes.take(most)

    def free(self, rows: Rows | Sequence[int]) -> None:
        """Forget these posts; their rows are used again only after `recycle`."""
        rows = np.asarray(rows, np.int32)
        for row in rows.tolist():
            self.ids.forget(row)
            self._early.pop(row, None)
            self._freed.add(row)
            for name in self.names.all:
                self.errors.pop((row, name), None)
        self._changes.add_many(rows, POST_CHANGED)
        self.post.clear(rows)
        for column in self.signals.values():
            column.clear(rows)

    def recycle(self, rows: Rows | Sequence[int]) -> None:
        """Rows that were freed and that nothing refers to any more may hold other posts."""
        rows = np.asarray(rows, np.int32)
        for row in rows.tolist():
            self.ids.recycle(row)
            self._freed.remove(row)
        self.post.created_ms[rows] = NEVER_MS
        self.ids.tidy()

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
        return row in self._freed

    def freed_among(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """For each row whether its post was forgotten and it is not yet recycled."""
        if not self._freed:
            return np.zeros(len(rows), bool)
        return np.fromiter(map(self._freed.__contains__, rows.tolist()), bool, len(rows))

    def expired(self, cutoff_ms: int, most: int | None = None) -> Rows:
        """Rows, at most `most`, whose post, or waiting signals, are older than the cutoff.

        A call goes on where the last one stopped; fewer than `most` means that there are no more.
        """
        found = [np.empty(0, np.int32)]
        wanted = self.capacity if most is None else most
        unread = self.capacity
        while unread and wanted:
            begin = self._expiry_from % self.capacity
            created_ms = self.post.created_ms[begin : begin + min(_EXPIRY_ROWS, unread)]
            old = (np.flatnonzero(created_ms < cutoff_ms) + begin).astype(np.int32)
            old = old[~self.freed_among(old)]
            self._expiry_from = begin + len(created_ms)
            if len(old) > wanted:
                old = old[:wanted]
                self._expiry_from = int(old[-1]) + 1
            found.append(old)
            wanted -= len(old)
            unread -= len(created_ms)
        return np.concatenate(found)

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
        before = len(self.ids)
        row = self.ids.add(post_id)
        if len(self.ids) > before:
            self._have_rows()
            self.post.created_ms[row] = 0
        return row

    def _have_rows(self) -> None:
        """Let the columns have all rows that the ids have."""
        if self.ids.bound <= self.capacity:
            return
        self.capacity = in_chunks(self.ids.bound)
        self.post.grow(self.capacity)
        self._changes.grow(self.capacity)
        for column in self.signals.values():
            column.grow(self.capacity)
