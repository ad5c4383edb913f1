"""What Redis does not show yet: changed posts, removed posts, changed and removed feeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from feedmill.events.gates import GatePolicy
from feedmill.events.partition import ALL_SHARDS, SHARDS, of_shards, shards_of
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import Flags, Rows
from feedmill.tables.id_table import IdTable
from feedmill.tables.mapped_column import MappedColumn

# More changed rows than this are found by going over all masks.
_MAX_QUEUED: Final = 65_536
_SWEEP_ROWS: Final = 16_384
_MOST_REMOVED: Final = 5_000
# A row that is held back is taken after so many ticks, or twice as many.
HELD_TICKS: Final = 15
# How many removed posts are remembered, to be removed again.
MAX_TOMBSTONES: Final = 100_000
# The shard of a row that holds no post, or one that never changed.
_UNKNOWN: Final = SHARDS


class SignalsChange(Struct, frozen=True):
    """What to write to `signals:<post_id>`.

    Without fields the key is removed.  With `whole` the fields, none of them empty, replace all
    others; else they are added, and an empty field is removed.

    A new version of a post is written whole.  `post_offset` is the version that a change which
    is not whole is about: it is not written where Redis holds another one.  -1 stands for any.
    """

    post_id: str
    expires_at_ms: int
    whole: bool
    fields: Mapping[str, str] = field(default_factory=dict)
    post_offset: int = -1


class FeedChange(Struct, frozen=True):
    """What to write to one feed, in one step.

    With `whole`, `entries` are all members, best first.  Else they are those that are new or
    have another score, and `removed` leave.  `size` is the number of members afterwards.

    `experiment` is what `:info` says of the experiment that runs in the feed, "" for none, and
    `arms` are the changes of its arms' lists, each `feed` of these being `<experiment>.<arm>`: they
    are of the same step, and whole if this is.  A whole one removes the lists of arms that `ended`.
    """

    feed: str
    whole: bool
    entries: Sequence[tuple[str, float]]
    removed: Sequence[str]
    size: int
    weights: Weights
    gates: Mapping[str, GatePolicy]
    config_offset: int
    experiment: str = ""
    arms: Sequence[FeedChange] = ()
    ended: Sequence[str] = ()

    @property
    def is_renewal(self) -> bool:
        """Whether only the freshness changes."""
        return not (self.whole or self.entries or self.removed) and all(
            arm.is_renewal for arm in self.arms
        )

    @property
    def lists(self) -> Sequence[FeedChange]:
        """The changes of the feed and of its arms."""
        return (self, *self.arms)

    @property
    def removes(self) -> bool:
        """Whether posts leave some list."""
        return bool(self.removed) or any(arm.removed for arm in self.arms)


def arm_list(feed: str, arm: str) -> str:
    """Return what the list of an arm, `<experiment>.<arm>`, is called; no feed has such a name."""
    return f"{feed}:arm:{arm}"


class PendingChanges(NamedTuple):
    """What to write, at most one change for each post and feed; nothing of `removed_feeds`."""

    signals: list[SignalsChange]
    feeds: list[FeedChange]
    removed_feeds: list[str]


class PendingWrites:
    """The single place that knows what is still to be written, of some shards alone.

    Rows that change are taken in the order of their changes; where all rows are to be written, they
    come last, in the order of their numbers.

    Parameters
    ----------
    bits
        How many bits a mask of changes has.

    Attributes
    ----------
    are_feeds_due
        Whether more feeds will come; before them no row is taken that did not just change.
    """

    def __init__(self, bits: int, ids: IdTable, shards: AbstractSet[int] = ALL_SHARDS) -> None:
        self.feeds: dict[str, None] = {}
        self.removed_feeds: set[str] = set()
        self.are_feeds_due = False
        self._ids = ids
        self._shards = shards
        self._is_owned = _is_among(shards)
        self._shard: MappedColumn[np.uint8] = MappedColumn(np.uint8, _UNKNOWN)
        self._whole = 1 << bits
        dtype: Any = np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint64
        self._masks: MappedColumn[Any] = MappedColumn(dtype)
        self._queue: deque[int] = deque()
        self._holds_back, self._ticks = False, 0
        # Rows held back of late, and for longer; some of them were taken since.
        self._held: list[int] = []
        self._held_longer: list[int] = []
        self._is_held: MappedColumn[np.bool_] = MappedColumn(np.bool_)
        self._swept: deque[int] = deque()
        self._next_sweep = 0
        self._is_sweeping = False
        # How many calls of `mark_later` have steps left, and the masks of these calls.
        self._unmarked = self._coming = 0
        self._removed: dict[str, int] = {}  # by post its shard
        # By shard the posts that Redis may still have, and when it drops them.
        self._tombstones: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        self._removed_again: set[int] = set()  # shards all of whose tombstones are to be removed
        self._cleaned_shard = 0

    @property
    def has_feeds(self) -> bool:
        """Whether any feed is to be written or removed."""
        return bool(self.feeds or self.removed_feeds)

    @property
    def has_posts(self) -> bool:
        """Whether any post is to be written or removed."""
        is_removing = bool(self._removed or self._removed_again)
        return bool(self._queue) or is_removing or self.is_sweeping

    @property
    def is_sweeping(self) -> bool:
        """Whether many rows are still to be written that did not just change."""
        return self._is_sweeping or bool(self._swept or self._unmarked)

    def grow(self, capacity: int) -> None:
        """Make room for all rows of the view."""
        self._masks.grow(capacity)
        self._is_held.grow(capacity)
        self._shard.grow(capacity)

    # --- shards ---------------------------------------------------------------------------

    def own(self, shards: AbstractSet[int]) -> None:
        """Write from here on what is of these shards alone.

        Posts and feeds of other shards are forgotten; those of new shards are marked by the
        caller.  Posts of new shards that were removed meanwhile are removed again.
        """
        gained, self._shards, self._is_owned = shards - self._shards, shards, _is_among(shards)
        self.feeds = dict.fromkeys(of_shards(self.feeds, shards))
        self.removed_feeds = set(of_shards(self.removed_feeds, shards))
        self._removed_again |= {shard for shard in gained if self._tombstones[shard]}
        self._removed_again &= shards

    def is_among(self, shards: AbstractSet[int]) -> Callable[[slice], Flags]:
        """Return what says which rows hold posts of some shards, up to their last change."""
        flags = _is_among(shards)
        return lambda part: flags[self._shard.values[part]]

    def _shards_of(self, rows: Rows) -> npt.NDArray[np.uint8]:
        shards = self._shard.values[rows]
        unknown = rows[shards == _UNKNOWN]
        if len(unknown):
            self._shard.values[unknown] = shards_of(self._ids.read_many(unknown))
            shards = self._shard.values[rows]
        return shards

    # --- posts ----------------------------------------------------------------------------

    def mark(self, rows: Rows, masks: npt.NDArray[Any], whole: Flags, waits: Flags) -> None:
        """Mark changed rows; `whole`: Redis has nothing of the post, `waits`: for a verdict."""
        is_owned = self._is_owned[self._shards_of(rows)]
        if not is_owned.all():
            rows, masks = rows[is_owned], masks[is_owned]
            whole, waits = whole[is_owned], waits[is_owned]
        before = self._masks.values[rows]
        added = masks.astype(before.dtype)
        added[whole] |= before.dtype.type(self._whole)
        if self._coming:
            added |= before.dtype.type(self._coming)
        after = before | added
        self._masks.values[rows] = after
        is_new = is_free = before == 0
        if self._holds_back:
            is_free = is_new | self._is_held.values[rows]
            held = waits & is_free & (after >= self._whole)
            self._is_held.values[rows] = held
            self._held.extend(rows[is_new & held].tolist())
            is_free &= ~held
        self._queue.extend(rows[is_free].tolist())
        if len(self._queue) + len(self._held) > _MAX_QUEUED:
            self.drop_queue()
            self._sweep()

    def hold_back(self, holds_back: bool) -> bool:
        """Begin, or end, to hold back posts that wait for verdicts and are not in Redis.

        While many come, most are soon decided, and to write them once is enough.  A post that is
        not decided is taken within half a minute.  Returns whether some are to be taken now.
        """
        self._holds_back = holds_back
        released = [] if holds_back else self._held_longer + self._held
        if released:
            self._queue.extend(released)
            self._held, self._held_longer = [], []
        return bool(released)

    def tick(self, now_ms: int) -> None:
        """Have what was held back for long taken; called about once a second."""
        self._ticks += 1
        if self._ticks % HELD_TICKS == 0:
            self._queue.extend(self._held_longer)
            self._held, self._held_longer = [], self._held
        self._drop_old_tombstones(now_ms)

    def mark_whole(self, rows: Rows) -> None:
        """Mark rows of which Redis may hold nothing, or anything."""
        changed, whole = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
        self.mark(rows, changed, whole, ~whole)

    def mark_later(
        self, is_marked: Iterable[tuple[slice, Flags]], mask: int | None = None
    ) -> Iterator[None]:
        """Have many rows written again after all that just changed; without a mask, whole.

        `is_marked` has parts of all rows.  The caller takes the steps that are returned, one for
        each part; from here on the writes are `is_sweeping`.
        """
        given = self._whole if mask is None else mask
        self._unmarked += 1
        self._coming |= given
        return self._mark_parts(is_marked, given)

    def _mark_parts(self, is_marked: Iterable[tuple[slice, Flags]], mask: int) -> Iterator[None]:
        for part, flags in is_marked:
            masks, is_owned = self._masks.values, self._is_owned[self._shard.values[part]]
            masks[part] |= (flags & is_owned) * masks.dtype.type(mask)
            yield
        self._unmarked -= 1
        if not self._unmarked:
            self._coming = 0
        self._sweep()

    def drop_queue(self) -> None:
        """Have all rows written again, none of them before the feeds."""
        self._queue.clear()
        self._held, self._held_longer = [], []

    def take_rows(self, most: int) -> list[tuple[int, int, bool]]:
        """Return at most so many rows with their masks, and whether each is to be written whole.

        While feeds are still to be taken, only rows that just changed.  Of many rows whose shards
        were lost a call passes some; `has_posts` tells whether there are more.
        """
        taken: list[tuple[int, int, bool]] = []
        masks, shard, shards = self._masks.cells, self._shard.cells, self._shards
        passed = 0
        while len(taken) < most and passed < _SWEEP_ROWS and (row := self._next_row()) is not None:
            mask, masks[row] = masks[row], 0
            if mask and shard[row] in shards:
                taken.append((row, mask & ~self._whole, mask >= self._whole))
            else:
                passed += 1  # the row was taken already, or its shard was lost
        return taken

    def take_among(self, rows: Rows) -> list[tuple[int, int, bool]]:
        """Return those of these rows that are to be written, as `take_rows`; -1 is no row."""
        masks = self._masks.values
        found = rows[(rows >= 0) & (masks[rows] != 0) & self._is_owned[self._shard.values[rows]]]
        taken = [
            (row, mask & ~self._whole, mask >= self._whole)
            for row, mask in zip(found.tolist(), masks[found].tolist(), strict=True)
        ]
        masks[found] = 0
        while self._queue and not masks[self._queue[0]]:
            self._queue.popleft()
        return taken

    def remove(self, rows: Rows, ends_ms: Mapping[str, int], now_ms: int) -> None:
        """Have posts removed; `ends_ms` says when Redis drops each by itself."""
        self._masks.values[rows] = 0
        self._shard.values[rows] = _UNKNOWN
        for (post_id, end_ms), shard in zip(ends_ms.items(), shards_of(ends_ms), strict=True):
            if shard in self._shards:
                self._removed[post_id] = shard
            tombstones = self._tombstones[shard]
            tombstones.pop(post_id, None)
            if end_ms > now_ms:
                tombstones[post_id] = end_ms
            if len(tombstones) > MAX_TOMBSTONES // SHARDS:
                oldest = next(iter(tombstones))
                del tombstones[oldest]
                self._removed.pop(oldest, None)

    def take_removed(self) -> list[str]:
        """Return posts that are to be removed, some of them if they are very many."""
        while self._removed_again and len(self._removed) < _MOST_REMOVED:
            shard = self._removed_again.pop()
            self._removed.update(dict.fromkeys(self._tombstones[shard], shard))
        taken = list(islice(self._removed.items(), _MOST_REMOVED))
        for post_id, _ in taken:
            del self._removed[post_id]
        # The shards of the others were lost meanwhile.
        return [post_id for post_id, shard in taken if shard in self._shards]

    def remove_again(self) -> None:
        """Have posts removed that an earlier owner, or a replica that lagged, may have left."""
        self._removed.clear()
        self._removed_again = {shard for shard in self._shards if self._tombstones[shard]}

    def _drop_old_tombstones(self, now_ms: int) -> None:
        """Forget removed posts that Redis dropped by itself; of another shard at each call."""
        self._cleaned_shard = (self._cleaned_shard + 1) % SHARDS
        ends_ms = self._tombstones[self._cleaned_shard]
        kept = {post_id: end_ms for post_id, end_ms in ends_ms.items() if end_ms > now_ms}
        self._tombstones[self._cleaned_shard] = kept

    def _sweep(self) -> None:
        self._next_sweep, self._is_sweeping = 0, True
        self._swept.clear()

    def _next_row(self) -> int | None:
        if self._queue:
            return self._queue.popleft()
        if self.feeds or self.are_feeds_due:
            return None
        while self._is_sweeping and not self._swept:
            start, masks = self._next_sweep, self._masks.values
            found = np.flatnonzero(masks[start : start + _SWEEP_ROWS]) + start
            self._swept.extend(found.tolist())
            self._next_sweep = start + _SWEEP_ROWS
            self._is_sweeping = self._next_sweep < len(masks)
        return self._swept.popleft() if self._swept else None

    # --- feeds ----------------------------------------------------------------------------

    def mark_feed(self, feed: str) -> None:
        """Have a feed written."""
        self.feeds[feed] = None
        self.removed_feeds.discard(feed)

    def remove_feed(self, feed: str) -> None:
        """Have a feed removed that exists no more."""
        self.feeds.pop(feed, None)
        self.removed_feeds.add(feed)

    def take_removed_feeds(self) -> list[str]:
        """The feeds to remove, in the order of their names."""
        taken, self.removed_feeds = sorted(self.removed_feeds), set()
        return taken


def _is_among(shards: AbstractSet[int]) -> Flags:
    """By shard whether it is among these; the last flag stands for an unknown shard."""
    return np.array([shard in shards for shard in range(SHARDS + 1)])
