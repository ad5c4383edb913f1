"""The combiner's materialised view: every post, signal and override, in columns.

One reader calls it with decoded records, in the order of each partition.  Records of
different topics may come in any order: the view is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat

import numpy as np
import numpy.typing as npt

from feedmill.events.override import Override, OverrideKey
from feedmill.events.partition import partitions_of
from feedmill.events.post import Deletion, Post
from feedmill.events.rates import BASES
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.columns import (
    NEVER_MS,
    NO_POST,
    ChangedRows,
    InternTable,
    PostColumns,
    Rows,
)
from feedmill.rankers.combiner.feed_matcher import PostGroup
from feedmill.rankers.combiner.overrides import ActiveOverride, OverriddenRows, OverrideTable
from feedmill.rankers.combiner.ranked_list import RowLookup
from feedmill.rankers.combiner.signal_columns import SignalColumns, StoredSignal
from feedmill.tables.id_table import IdTable
from feedmill.tables.mapped_column import in_chunks

# How many signals may wait, of some 600 bytes each.
MOST_EARLY = 100_000
_PRUNED_AT_ONCE = 512
# Rows whose authors and groups are noted at once: some milliseconds.
_MARKED_AT_ONCE = 1 << 19
# Rows among which `expired` looks for old ones: a millisecond.
_SEARCHED_AT_ONCE = 1 << 19
# In a mask of changes: the post itself, its overrides, or whether it is there at all.
POST_CHANGED = 1


class EarlySignals:
    """By row and name the signals about versions of posts that are still to come.

    Each version keeps the last signal, and beside a failure the last good signal.  No more than
    `most` should wait.  The caller takes no more signals of workers while it `is_full`; of `own`,
    the signals of other programs, those of the row that has waited longest are dropped.

    Attributes
    ----------
    rows
        The rows in which signals wait.
    dropped
        How many signals were dropped so far.  Their posts lack them until their stage writes again.
    """

    def __init__(self, most: int, own: Collection[str] = ()) -> None:
        self.dropped = 0
        self._most = most
        self._own = frozenset(own)
        self._count = self._own_count = 0
        # Tuples: the garbage collector looks at a tuple once, at a list in each run.
        self._by_row: dict[int, dict[str, tuple[Signal, ...]]] = {}
        self.rows = self._by_row.keys()
        self._own_rows: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """How many signals wait."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether too many signals of workers wait."""
        return self._count - self._own_count > self._most

    def next_rows(self, most: int) -> list[int]:
        """Return rows in which signals wait, in turns: other rows at the next call."""
        rows = [*islice(self._by_row, most)]
        for row in rows:
            self._by_row[row] = self._by_row.pop(row)
        return rows

    def has_later(self, row: int, name: str, signal: Signal) -> bool:
        """Whether a signal that waits is later than this one, which is to be ignored then."""
        waiting = self._by_row.get(row, {}).get(name)
        if not waiting:
            return False
        last = waiting[-1]
        return (signal.post_offset, signal.revision) < (last.post_offset, last.revision)

    def add(self, row: int, name: str, signal: Signal) -> None:
        """Let a signal wait; it is about no earlier version than the last one that waits."""
        of_row = self._by_row.setdefault(row, {})
        waiting = before = of_row.get(name, ())
        while waiting and waiting[-1].post_offset == signal.post_offset:
            if waiting[-1].value is not None and signal.value is None:
                break
            waiting = waiting[:-1]
        of_row[name] = *waiting, signal
        self._counted(row, name, len(of_row[name]) - len(before))

    def take(self, row: int) -> Mapping[str, tuple[Signal, ...]]:
        """Remove and return the signals that wait in this row, by name."""
        signals = self._by_row.pop(row, {})
        for name, waiting in signals.items():
            self._counted(row, name, -len(waiting))
        self._own_rows.pop(row, None)
        return signals

    def discard(self, row: int, name: str) -> int:
        """Drop the signals of this name, which its stage withdrew; return how many."""
        return self._keep(row, name, ())

    def drop_before(self, row: int, offset: int) -> None:
        """Drop the signals about versions before this one, which will not come any more."""
        for name, waiting in [*self._by_row.get(row, {}).items()]:
            self._keep(row, name, tuple(s for s in waiting if s.post_offset >= offset))

    def drop_longest(self) -> int | None:
        """Drop the `own` signals of the row that has waited longest, if there are too many.

        Returns the row, else None.
        """
        if self._own_count <= self._most:
            return None
        row = next(iter(self._own_rows))
        names = self._own.intersection(self._by_row[row])
        self.dropped += sum(self.discard(row, name) for name in names)
        self._own_rows.pop(row, None)
        return row

    def _keep(self, row: int, name: str, left: tuple[Signal, ...]) -> int:
        """Keep only these signals of a name waiting; return how many are gone."""
        signals = self._by_row.get(row, {})
        gone = len(signals.get(name, ())) - len(left)
        self._counted(row, name, -gone)
        if left:
            signals[name] = left
        else:
            signals.pop(name, None)
        if not signals:
            self._by_row.pop(row, None)
            self._own_rows.pop(row, None)
        return gone

    def _counted(self, row: int, name: str, more: int) -> None:
        self._count += more
        if name in self._own:
            self._own_count += more
            if more > 0:
                self._own_rows.setdefault(row)


class Pruning:
    """Forgets authors and groups that have no post, once they are many, some at each call."""

    def __init__(self, post: PostColumns, authors: IdTable, groups: InternTable) -> None:
        self._post = post
        self._authors = authors
        self._groups = groups
        self._kept = 0  # how many authors and groups there were after the last pruning
        self._unmarked = 0  # rows to be looked at before anything is forgotten

    @property
    def is_running(self) -> bool:
        """Whether `go_on` has more to do."""
        return self._authors.sweeping.is_running or self._groups.sweeping.is_running

    def go_on(self) -> list[int]:
        """Begin if it is time, and forget some authors and groups.

        When it is called no row may have changed that was not taken.  Returns the numbers of the
        groups that are forgotten and will stand for others: the caller drops what refers to them.
        """
        authors, groups = self._authors, self._groups
        if not self.is_running:
            if len(authors) + len(groups) <= 2 * self._kept + 1024:
                return []
            authors.sweeping.begin(authors.bound)
            groups.sweeping.begin(len(groups.values))
            self._unmarked = len(self._post.author)
        if self._unmarked:
            part = slice(max(0, self._unmarked - _MARKED_AT_ONCE), self._unmarked)
            authors.sweeping.mark_all(self._post.author[part])
            groups.sweeping.mark_all(self._post.group[part])
            self._unmarked = part.start
            if self._unmarked:
                return []
        room = _PRUNED_AT_ONCE - authors.sweep(_PRUNED_AT_ONCE)
        forgotten = groups.sweep(room)
        if not self.is_running:
            self._kept = len(authors) + len(groups)
        return forgotten


class PostView:
    """All posts of the window, one row each.

    Attributes
    ----------
    ids
        Post id by row; "" where the row is free.
    changed
        The rows that changed, each with a mask of what changed in it.
    bits, deciding
        In such a mask the bit of each signal, and the bits of what decides on a post:
        `POST_CHANGED` and those of the gates.
    written
        The part of `bits` whose signals some post ever had: no other column takes memory.

    Without `keeps_times` it does not keep when signals were made.
    """

    def __init__(
        self, names: SignalNames, most_early: int = MOST_EARLY, *, keeps_times: bool = True
    ) -> None:
        self.names = names
        self.capacity = 0
        self.ids = IdTable()
        self.post = PostColumns()
        self.overrides = OverrideTable()
        self.authors = IdTable()
        self.overridden = OverriddenRows(self.overrides, self.ids, self.authors)
        self.groups = InternTable()
        self.models = InternTable()
        self.signals = {
            name: SignalColumns(
                self.models,
                is_gate=name in names.gates,
                has_base=name in BASES,
                keeps_times=keeps_times,
            )
            for name in names.all
        }
        self.early = EarlySignals(most_early, names.own)
        self.bits = {name: POST_CHANGED << (i + 1) for i, name in enumerate(names.all)}
        self.deciding = POST_CHANGED | sum(self.bits[name] for name in names.gates)
        self.changed = ChangedRows(self.deciding)
        self.written: dict[str, int] = {}
        # In a restore, by id: when posts were deleted that the view never had.
        self.deleted_unseen: dict[str, int] | None = None
        self._freed: set[int] = set()
        self._old: Rows = np.empty(0, np.int32)  # found and not returned by `expired`
        self._searched = 0  # how many rows `expired` has looked at, 0 after all
        self.lookup = RowLookup()
        self.pruning = Pruning(self.post, self.authors, self.groups)

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, post_id: str) -> int | None:
        """The row of a post that is known, else None."""
        return self.ids.find(post_id)

    def author_of(self, row: int) -> str:
        """The author of the post in this row, "" where there is no post."""
        number = int(self.post.author[row])
        return "" if number < 0 else self.authors[number]

    def update_post(self, post: Post | Deletion, offset: int, timestamp_ms: int) -> None:
        """Take a post, an edit or a deletion; `timestamp_ms` is the record's own."""
        self.update_posts((post,), (offset,), (timestamp_ms,))

    def update_posts(
        self,
        posts: Sequence[Post | Deletion],
        offsets: Sequence[int],
        timestamps_ms: Sequence[int],
    ) -> None:
        """Take posts, edits and deletions in their order, each with its record's own time."""
        kept = [post for post in posts if not isinstance(post, Deletion)]
        rows = self.ids.add_many([post.post_id for post in kept])
        authors = self.authors.add_many([post.author_id for post in kept])
        self._have_room()
        numbers = zip(rows, authors, strict=True)
        for post, offset, timestamp_ms in zip(posts, offsets, timestamps_ms, strict=True):
            if isinstance(post, Deletion):
                self._delete(post.post_id, offset, timestamp_ms)
                continue
            row, author = next(numbers)
            if row in self._freed:  # since it was looked up
                row = self._row(post.post_id)
            self._put_post(row, author, post, offset, timestamp_ms)

    def _put_post(self, row: int, author: int, post: Post, offset: int, timestamp_ms: int) -> None:
        columns = self.post
        before = columns.offset.item(row)
        if before >= offset:
            return
        columns.offset[row] = offset
        columns.created_ms[row] = min(post.created_at_ms, timestamp_ms)
        columns.arrived_ms[row] = timestamp_ms
        columns.author[row] = author
        self.overridden.flag_post(row, post, author)
        columns.group[row] = self.groups.number(PostGroup.of(post))
        self.changed.mark((row,), POST_CHANGED)
        self._end_version(row, before, offset)

    def update_signal(self, name: str, signal: Signal, timestamp_ms: int = 0) -> None:
        """Store a signal, unless a later one is there; of a version still to come it waits."""
        row = self._row(signal.post_id)
        if not self._wait(row, name, signal, timestamp_ms):
            self._store(row, name, signal)

    def update_signals(
        self,
        name: str,
        signals: Sequence[Signal | str],
        timestamps_ms: Iterable[int] = repeat(0),
    ) -> None:
        """Store signals of one name in their order; a post's id alone withdraws its signal.

        The timestamps are the records' own: a signal that waits does so from then on, or from its
        `at_ms` if that is later.
        """
        ids = [signal if isinstance(signal, str) else signal.post_id for signal in signals]
        self._update_signals(repeat(name), signals, self.ids.find_many(ids), timestamps_ms)

    def update_written(self, written: Sequence[tuple[str, str, Signal | None]]) -> None:
        """Store signals of all names, each with name and post; None in their place withdraws them.

        Each post is looked up once for all its names.
        """
        ids = [*{post_id: None for _, post_id, _ in written}]
        row_of = dict(zip(ids, self.ids.find_many(ids), strict=True))
        self._update_signals(
            [name for name, _, _ in written],
            [post_id if signal is None else signal for _, post_id, signal in written],
            [row_of[post_id] for _, post_id, _ in written],
            repeat(0),
        )

    def _update_signals(
        self,
        names: Iterable[str],
        signals: Sequence[Signal | str],
        rows: Sequence[int],
        timestamps_ms: Iterable[int],
    ) -> None:
        """Store signals about posts in these rows, -1 where the post was not known."""
        changed: dict[str, list[int]] = {}
        waiting, post = self.early.rows, self.post
        for name, signal, row, at_ms in zip(names, signals, rows, timestamps_ms, strict=False):
            if isinstance(signal, str):
                self.clear_signal(name, signal)
            elif row < 0 or post.offset.item(row) != signal.post_offset or row in waiting:
                self.update_signal(name, signal, at_ms)
            else:
                # Nearly all.  No row with a post was freed since it was looked up.
                if name not in changed:
                    changed[name] = []
                    if name not in self.written:
                        self._begin_to_write(name)
                if self.signals[name].update(row, signal, signal.post_offset):
                    changed[name].append(row)
        for name, some in changed.items():
            self.changed.mark(some, self.bits[name])

    def clear_signal(self, name: str, post_id: str) -> None:
        """Remove a signal that its stage withdrew."""
        row = self.ids.find(post_id)
        if row is None:
            return
        self.early.discard(row, name)
        if self.post.offset[row] == NO_POST:
            self._free_empty(row)
            return
        if name in self.written:
            self.signals[name].clear(np.array([row], np.int32))
            self.changed.mark((row,), self.bits[name])

    def _delete(self, post_id: str, offset: int, timestamp_ms: int) -> None:
        row = self.ids.find(post_id)
        if row is None and self.deleted_unseen is not None:
            self.deleted_unseen[post_id] = timestamp_ms
        if row is None or self.post.offset[row] >= offset:
            return
        waiting = self.early.take(row)
        self.free([row])
        # Signals about a version after the deletion go on waiting for it.
        for name, signals in waiting.items():
            for signal in signals:
                if signal.post_offset > offset:
                    self.update_signal(name, signal, timestamp_ms)

    def _end_version(self, row: int, before: int, offset: int) -> None:
        """Let signals follow a post from one version to the next."""
        if before != NO_POST:
            for name in self.written:
                self.signals[name].supersede(row, before)
        if row in self.early.rows:
            for name, signals in self.early.take(row).items():
                for signal in signals:
                    if not self._wait(row, name, signal):
                        self._store(row, name, signal)

    def _store(self, row: int, name: str, signal: Signal) -> None:
        if name not in self.written:
            self._begin_to_write(name)
        if self.signals[name].update(row, signal, self.post.offset.item(row)):
            self.changed.mark((row,), self.bits[name])

    def _begin_to_write(self, name: str) -> None:
        names = {name, *self.written}
        self.written = {known: bit for known, bit in self.bits.items() if known in names}

    def _wait(self, row: int, name: str, signal: Signal, timestamp_ms: int = 0) -> bool:
        """Let a signal of a coming version wait; return whether it, or a later one, waits."""
        if len(self.early) and self.early.has_later(row, name, signal):
            return True
        post_offset = self.post.offset.item(row)
        if signal.post_offset <= post_offset:
            return False
        self.early.add(row, name, signal)
        if post_offset == NO_POST:
            created_ms = int(self.post.created_ms[row])
            self.post.created_ms[row] = max(signal.at_ms, timestamp_ms, created_ms)
        dropped = self.early.drop_longest()
        if dropped is not None:
            self._free_empty(dropped)
        return True

    def drop_passed(self, ends: Sequence[int], most: int) -> None:
        """Drop signals that wait for versions of posts that will not come any more.

        `ends` has for each partition up to which offset all of its posts were stored.  At most
        `most` rows are looked at, other rows at the next call.
        """
        rows = self.early.next_rows(most)
        partitions = partitions_of([self.ids[row].encode() for row in rows], len(ends))
        for row, partition in zip(rows, partitions.tolist(), strict=True):
            self.early.drop_before(row, ends[partition])
            self._free_empty(row)

    def _free_empty(self, row: int) -> None:
        if row not in self.early.rows and self.post.offset[row] == NO_POST:
            self.free([row])

    def update_override(self, key: OverrideKey, override: Override | None) -> None:
        """Set or withdraw an override; `find_overridden` finds the posts of an author."""
        self.overrides.update(key, override)
        self.touch(self.overridden.flag_override(key))

    def find_overridden(self, most: int) -> bool:
        """Mark some posts of authors whose overrides changed; not while so many are marked."""
        if is_searched := self.overridden.is_searching and self.changed.first_count < most:
            self.touch(self.overridden.find_some(self.post.author, most))
        return is_searched

    def live_rows(self) -> Rows:
        """The rows that hold a post."""
        return np.flatnonzero(self.post.offset != NO_POST).astype(np.int32)

    def touch(self, rows: Rows | Sequence[int]) -> None:
        """Have these rows decided, scored and written again."""
        self.changed.mark(np.asarray(rows, np.int32).tolist(), POST_CHANGED)

    @property
    def has_changes(self) -> bool:
        """Whether some row changed and was not taken yet, or is still to be found."""
        return bool(self.changed or self.deleted_unseen) or self.overridden.is_searching

    def free(self, rows: Rows | Sequence[int]) -> None:
        """Forget these posts; their rows are used again only after `recycle`."""
        rows = np.asarray(rows, np.int32)
        for row in rows.tolist():
            self.ids.forget(row)
            self.early.take(row)
            self._freed.add(row)
        self.changed.mark(rows.tolist(), POST_CHANGED)
        self.post.clear(rows)
        for name in self.written:
            self.signals[name].clear(rows)

    def recycle(self, rows: Rows | Sequence[int]) -> None:
        """Let freed rows, to which nothing refers any more, hold other posts."""
        rows = np.asarray(rows, np.int32)
        for row in rows.tolist():
            self.ids.recycle(row)
            self._freed.remove(row)
        self.post.created_ms[rows] = NEVER_MS
        self.ids.tidy()

    def freed_among(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """For each row whether its post was forgotten and it is not recycled yet."""
        if not self._freed:
            return np.zeros(len(rows), bool)
        return np.fromiter(map(self._freed.__contains__, rows.tolist()), bool, len(rows))

    def expired(self, cutoff_ms: int, most: int | None = None) -> Rows:
        """Rows, at most `most`, whose post, or waiting signals, are older than the cutoff.

        Each call looks among some rows, or returns more of what was found, as long as `has_expired`
        says so; the next call begins anew.
        """
        created_ms = self.post.created_ms
        if not len(self._old):
            first, self._searched = self._searched, self._searched + _SEARCHED_AT_ONCE
            is_old = created_ms[first : self._searched] < cutoff_ms
            self._old = (np.flatnonzero(is_old) + first).astype(np.int32)
            if self._searched >= len(created_ms):
                self._searched = 0
        count = len(self._old) if most is None else most
        rows, self._old = self._old[:count], self._old[count:]
        # Rows may hold other posts by now.
        return rows[(created_ms[rows] < cutoff_ms) & ~self.freed_among(rows)]

    @property
    def has_expired(self) -> bool:
        """Whether `expired` has rows left to return, or to look at."""
        return len(self._old) > 0 or self._searched > 0

    def is_overridden(self, row: int) -> bool:
        """Whether some override is about the post in this row or its author."""
        author = self.post.author.item(row)
        return len(self.overrides) > 0 and self.overridden.holds(row, author)

    def overrides_of(
        self, row: int, gates: Sequence[str], now_ms: int
    ) -> dict[str, ActiveOverride]:
        """By gate the override in force for the post in this row."""
        offset = int(self.post.offset[row])
        return self.overrides.in_force(self.ids[row], self.author_of(row), offset, gates, now_ms)

    def signal(self, row: int, name: str) -> StoredSignal | None:
        """The last signal of this name about the post in this row."""
        return self.signals[name].get(row, self.post.offset.item(row))

    def _row(self, post_id: str) -> int:
        row = self.ids.add(post_id)
        self._have_room()
        if self.post.created_ms.item(row) == NEVER_MS:
            self.post.created_ms[row] = 0
        return row

    def _have_room(self) -> None:
        if self.ids.bound > self.capacity:
            self.capacity = in_chunks(self.ids.bound)
            self.post.grow(self.capacity)
            self.overridden.grow(self.capacity)
            for column in self.signals.values():
                column.grow(self.capacity)
