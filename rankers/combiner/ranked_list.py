"""The best posts of one feed, kept up to date as single posts come, change and leave.

Posts are ordered by score; posts of equal scores in descending order of ids, few of which are read.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from feedmill.rankers.combiner.columns import Flags, Rows

_LEAST_RESERVE = 64
# How many posts beyond the cap of an author are kept, to follow when a better post leaves.
_AUTHOR_RESERVE = 16
Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


class PostMove(NamedTuple):
    """A change of one place: a post within the author cap left `from_at`, then one came to `to_at`.

    -1 stands for none.  Both are the same post, unless the cap let another post of its author in or
    out.
    """

    from_at: int
    to_at: int


class _Key(NamedTuple):
    """What posts are ordered by; Python compares texts as Redis compares their bytes."""

    score: float
    post_id: str


class RankedList:
    """All posts of a feed that are ranked above a floor, more of them than the feed shows.

    `best` is exactly what sorting every post of the feed would give, as long as the list is not
    `is_short`.  A short list lost so many posts that some below the floor belong into the feed: it
    must be made anew from all of them.  A new list has no floor.

    Parameters
    ----------
    max_per_author
        How many posts of one author the feed shows, None for no limit.
    ids
        Post ids by row: equal scores come in descending order of them.

    Attributes
    ----------
    rows, scores, authors
        The posts of the list, best first; equally long arrays.  Any change may change `rows` and
        `authors` in place; `scores` is replaced, so that whoever has it may keep it.
    """

    def __init__(
        self, size: int, max_per_author: int | None, ids: PostIds, lookup: RowLookup | None = None
    ) -> None:
        self.rows: Rows = np.empty(0, np.int32)
        self.scores: Floats = np.empty(0)
        self.authors: Rows = np.empty(0, np.int32)
        self._size = size
        self._most = max_per_author
        self._ids = ids
        self._lookup = lookup or RowLookup()
        self._reserve = max(_LEAST_RESERVE, size // 2)
        self._floor: _Key | None = None
        # By author, some of whose posts above the floor are not kept, the last post that is kept.
        self._author_floors: dict[int, _Key] = {}
        self._trim_above = size + 2 * self._reserve
        # Which posts the author cap lets in, once known; a slice while no author has more.
        self._within: Flags | slice | None = slice(None)
        self._may_be_short = False
        # The move since `take_move`, if nothing else changed.
        self._move: PostMove | None = None
        self._has_changed = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def floor_score(self) -> float:
        """A post with a lower score does not enter the list."""
        return -np.inf if self._floor is None else self._floor.score

    def update(self, rows: Rows, scores: Floats, authors: Rows) -> bool:
        """Give posts of the feed their new scores; return whether the list changed.

        `rows` has each row once, in the list or not.  A post that is not shown, or is not of the
        feed any more, has the score ``-inf``.  `authors` has the number of each author.  All have
        shape (n,).
        """
        if len(rows) == 1:
            return self.update_one(int(rows[0]), float(scores[0]), int(authors[0]))
        listed, given = self._listed(rows)
        enters = (scores >= self.floor_score) & (scores > -np.inf)
        if len(listed):
            same = (scores[given] == self.scores[listed]) & (authors[given] == self.authors[listed])
            enters[given[same]] = False
            self.remove(listed[~same])
        has_left = bool(len(listed) and not same.all())
        # A full feed takes few of the posts that come.
        return bool(enters.any() and self._enter(enters, rows, scores, authors)) or has_left

    def _listed(self, rows: Rows) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the positions in the list of rows that it has, and their positions in `rows`."""
        found = self._lookup.find(self.rows, rows)
        listed = (found >= 0).nonzero()[0]
        return listed, found[listed].astype(np.intp)

    def update_one(self, row: int, score: float, author: int) -> bool:
        """Do what `update` does for one post: most changes are one post."""
        listed = (self.rows == row).nonzero()[0]
        if len(listed):
            from_at = int(listed[0])
            is_same_author = self.authors.item(from_at) == author
            if is_same_author and self.scores.item(from_at) == score:
                return False
        is_out = score == -np.inf or self._is_below_floors(row, score, author)
        if len(listed):
            if is_same_author and not is_out:
                self._move_one(from_at, score)
                return True
            self._remove_one(from_at)
        if is_out:
            return len(listed) > 0
        self._insert_one(row, score, author)
        return True

    def _is_below_floors(self, row: int, score: float, author: int) -> bool:
        floor, author_floor = self._floor, self._author_floors.get(author)
        if author_floor is None and (floor is None or score > floor.score):
            return False
        if floor is not None and score < floor.score:
            return True
        key = _Key(score, self._ids[row])
        return key < (floor or key) or key < (author_floor or key)

    def best(self) -> tuple[Rows, Floats]:
        """The rows of the feed and their scores, best first, at most `size`; views or copies."""
        within = self._find_within()
        if not isinstance(within, slice):
            shown = within.nonzero()[0]
            if len(shown) < len(self.rows):
                shown = shown[: self._size]
                return self.rows.take(shown), self.scores.take(shown)
            self._within = slice(None)
        return self.rows[: self._size], self.scores[: self._size]

    def _find_within(self) -> Flags | slice:
        if self._within is None:
            self._within = np.zeros(len(self.rows), bool)
            self._within[self._within_cap()] = True
        return self._within

    def take_move(self) -> PostMove | None:
        """Return the move that is all that changed since the last call.

        None where nothing or anything else changed, or where it was not known whom the cap lets in.
        """
        move, self._move, self._has_changed = self._move, None, False
        return move

    def _record_move(self, move: PostMove | None = None) -> None:
        self._move = None if self._has_changed else move
        self._has_changed = True

    @property
    def is_short(self) -> bool:
        """Whether posts that the list does not keep may belong into the feed."""
        if not self._may_be_short:
            return False
        within, count = self._find_within(), len(self)
        if not isinstance(within, slice):
            count = int(np.count_nonzero(within))
        short = self._floor is not None and count < self._size
        self._may_be_short = short or any(
            self._count_of(author) < (self._most or 0) for author in self._author_floors
        )
        return self._may_be_short

    def remove(self, positions: npt.NDArray[np.intp]) -> None:
        """Take out the posts at these positions of `rows`."""
        if not len(positions):
            return
        if len(positions) == 1:
            self._remove_one(int(positions[0]))
            return
        is_kept = np.ones(len(self.rows), bool)
        is_kept[positions] = False
        self.rows, self.scores, self.authors = (
            self.rows[is_kept],
            self.scores[is_kept],
            self.authors[is_kept],
        )
        if not isinstance(self._within, slice):
            self._within = None
        self._record_removal()

    def _remove_one(self, at: int) -> None:
        author, left = self.authors.item(at), self._place_within(at)
        self.rows, self.scores = without(self.rows, at), without(self.scores, at)
        self.authors = without(self.authors, at)
        if isinstance(self._within, np.ndarray):
            self._within = without(self._within, at)
        self._record_removal(self._move_of(author, left, -1))

    def _record_removal(self, move: PostMove | None = None) -> None:
        self._may_be_short = self._floor is not None or bool(self._author_floors)
        self._record_move(move)

    def _enter(self, enters: Flags, rows: Rows, scores: Floats, authors: Rows) -> bool:
        """Insert what is above the floors; of very many the best first, which raises the floor."""
        entering = np.flatnonzero(enters)
        most = 2 * self._trim_above
        is_best = enters
        if len(entering) > 2 * most:
            cut = len(entering) - most
            is_best = np.zeros(len(rows), bool)
            is_best[entering[np.argpartition(scores[entering], cut)[cut:]]] = True
        has_entered = self._enter_some(is_best.copy(), rows, scores, authors)
        others = enters & ~is_best
        if not others.any():
            return has_entered
        others &= scores >= self.floor_score
        return self._enter_some(others, rows, scores, authors) or has_entered

    def _enter_some(self, enters: Flags, rows: Rows, scores: Floats, authors: Rows) -> bool:
        self._drop_below_floors(enters, rows, scores, authors)
        entering = np.flatnonzero(enters)
        if len(entering):
            self._insert(rows[entering], scores[entering], authors[entering])
        return len(entering) > 0

    def _drop_below_floors(self, enters: Flags, rows: Rows, scores: Floats, authors: Rows) -> None:
        """Clear `enters` for posts below the floors; most are by score alone already."""
        floor = self._floor
        if floor is not None:
            for at in np.flatnonzero(enters & (scores == floor.score)).tolist():
                enters[at] = self._ids[int(rows[at])] >= floor.post_id
        if not self._author_floors:
            return
        # Masks, not loops: an author may have most of very many posts.
        for author in self._author_floors.keys() & set(authors[enters].tolist()):
            least = self._author_floors[author]
            own = np.flatnonzero(enters & (authors == author))
            enters[own[scores[own] < least.score]] = False
            for at in own[scores[own] == least.score].tolist():
                enters[at] = self._ids[int(rows[at])] >= least.post_id

    def _insert(self, rows: Rows, scores: Floats, authors: Rows) -> None:
        kept = len(self.rows)
        all_scores = np.concatenate((self.scores, scores))
        order = np.argsort(-all_scores, kind="stable")
        self.rows = np.concatenate((self.rows, rows))[order]
        self.scores = all_scores[order]
        self.authors = np.concatenate((self.authors, authors))[order]
        tied = order_of_ties(self._ids, self.rows, self.scores, order >= kept)
        if tied is not None:
            self.rows, self.authors = self.rows[tied], self.authors[tied]
        self._forget_within()
        self._record_move()
        if len(self.rows) > self._trim_above:
            self._trim()

    def _insert_one(self, row: int, score: float, author: int) -> None:
        at = place_of(self._ids, row, score, self.rows, self.scores)
        self.rows = inserted(self.rows, at, row)
        self.scores = inserted(self.scores, at, score)
        self.authors = inserted(self.authors, at, author)
        if isinstance(self._within, np.ndarray):
            self._within = inserted(self._within, at, False)
        elif self._within is not None and self._count_of(author) > (self._most or len(self)):
            self._within = np.ones(len(self.rows), bool)
            self._within[at] = False
        self._record_move(self._move_of(author, -1, at))
        if len(self.rows) > self._trim_above:
            self._trim()

    def _move_one(self, from_at: int, score: float) -> None:
        """Give a post of the list another score: only posts that it passes move in the arrays."""
        at = place_of(self._ids, self.rows.item(from_at), score, self.rows, self.scores)
        at -= at > from_at
        left = self._place_within(from_at)
        self.scores = self.scores.copy()
        if at != from_at:
            for values in (self.rows, self.authors, self.scores):
                shift(values, from_at, at)
        self.scores[at] = score
        if isinstance(self._within, np.ndarray):
            shift(self._within, from_at, at)
            self._within[at] = False
        self._record_move(self._move_of(self.authors.item(at), left, at))

    def _place_within(self, at: int) -> int:
        """Return which of the posts within the cap a post is, -1 if it is over the cap."""
        if not isinstance(self._within, np.ndarray):
            return at
        return int(np.count_nonzero(self._within[:at])) if self._within.item(at) else -1

    def _move_of(self, author: int, left: int, at: int) -> PostMove | None:
        """Return the move after a post left `_place_within`, or came to a position, not let in yet.

        Lets in the best posts of its author, as many as the cap says.
        """
        within, most = self._within, self._most
        if most is None or not isinstance(within, np.ndarray):
            return None if within is None else PostMove(left, at)
        own = (self.authors == author).nonzero()[0][: most + 1].tolist()
        for over in own[most:]:
            if within.item(over):
                left, within[over] = self._place_within(over), False
        for let_in in own[:most]:
            if not within.item(let_in):
                within[let_in] = True
                return PostMove(left, self._place_within(let_in))
        return PostMove(left, -1)

    def _count_of(self, author: int) -> int:
        return int(np.count_nonzero(self.authors == author))

    def _within_cap(self) -> npt.NDArray[np.intp]:
        if self._most is None or not self._has_author_over_cap():
            return np.arange(len(self.rows))
        return np.flatnonzero(rank_within(self.authors) < self._most)

    def _has_author_over_cap(self) -> bool:
        most = self._most
        if most is None:
            return False
        ordered = np.sort(self.authors)
        return bool((ordered[most:] == ordered[:-most]).any())

    def _trim(self) -> None:
        """Raise the floor so that `size` and the reserve are left within the author cap."""
        within = self._within_cap()
        wanted = self._size + self._reserve
        if len(within) > wanted:
            end = int(within[wanted - 1]) + 1
            self._floor = self._key(end - 1)
            self._cut(slice(0, end))
        if self._most is not None and len(self.rows) > 2 * wanted:
            self._trim_authors(self._most + _AUTHOR_RESERVE)
        self._author_floors = {
            author: key
            for author, key in self._author_floors.items()
            if self._floor is None or key > self._floor
        }
        self._trim_above = max(len(self.rows), wanted) + self._reserve

    def _trim_authors(self, most: int) -> None:
        rank = rank_within(self.authors)
        beyond = np.unique(self.authors[rank >= most]).tolist()
        last = np.flatnonzero(rank == most - 1)
        at = dict(zip(self.authors[last].tolist(), last.tolist(), strict=True))
        self._author_floors.update({author: self._key(at[author]) for author in beyond})
        self._cut(rank < most)

    def _cut(self, kept: slice | Flags) -> None:
        self.rows, self.scores, self.authors = (
            self.rows[kept].copy(),
            self.scores[kept].copy(),
            self.authors[kept].copy(),
        )
        self._forget_within()
        self._record_move()

    def _forget_within(self) -> None:
        self._within = slice(None) if self._most is None else None

    def _key(self, position: int) -> _Key:
        return _Key(float(self.scores[position]), self._ids[int(self.rows[position])])


class PostIds(Protocol):
    """Post ids by row."""

    def __getitem__(self, row: int, /) -> str: ...


class RowLookup:
    """A table over all rows that is never cleared: every entry is verified when it is read.

    One table serves any number of lists.
    """

    def __init__(self) -> None:
        self._position: Rows = np.zeros(0, np.int32)

    def find(self, rows: Rows, among: Rows) -> Rows:
        """Return the position in `among` of each of `rows`, -1 where it is not there.

        -1 is found nowhere.  No row is in `among` twice, or any of its positions is returned.
        """
        if not len(among) or not len(rows):
            return np.full(len(rows), -1, np.int32)
        # The last entry is that of -1.
        self._grow(max(int(rows.max()), int(among.max())) + 2)
        self._position[among] = np.arange(len(among), dtype=np.int32)
        position = self._position[rows]
        position[position >= len(among)] = 0
        position[(among[position] != rows) | (rows < 0)] = -1
        return position

    def _grow(self, capacity: int) -> None:
        if len(self._position) < capacity:
            # Zeroed pages that nothing is written to take no memory.
            self._position = np.zeros(max(capacity, 2 * len(self._position), 8192), np.int32)


def rank_within(authors: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """For each position, how many of the same author come before it."""
    by_author = np.argsort(authors, kind="stable")
    starts, ends = runs(authors[by_author])
    ranks = np.empty(len(authors), np.intp)
    ranks[by_author] = np.arange(len(authors)) - np.repeat(starts, ends - starts)
    return ranks


def runs(ordered: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where each run of equal values begins and ends."""
    is_start = np.empty(len(ordered), bool)
    is_start[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_start[1:])
    starts = is_start.nonzero()[0]
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1:] = len(ordered)
    return starts, ends


# --- one value of an array ------------------------------------------------------------------


def inserted(values: npt.NDArray[Any], at: int, value: float) -> npt.NDArray[Any]:
    """Return a copy with one more value; `np.insert` takes ten times as long."""
    longer = np.empty(len(values) + 1, values.dtype)
    longer[:at], longer[at], longer[at + 1 :] = values[:at], value, values[at:]
    return longer


def shift(values: npt.NDArray[Any], from_at: int, to_at: int) -> None:
    """Move one value to another position, and those between by one, in place."""
    value = values[from_at]
    if to_at > from_at:
        values[from_at:to_at] = values[from_at + 1 : to_at + 1]
    else:
        values[to_at + 1 : from_at + 1] = values[to_at:from_at]
    values[to_at] = value


def without(values: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
    """Return a copy without one value; `np.delete` takes several times as long."""
    shorter = np.empty(len(values) - 1, values.dtype)
    shorter[:at], shorter[at:] = values[:at], values[at + 1 :]
    return shorter


# --- equal scores: in descending order of ids, few of which are read -------------------------


def place_of(ids: PostIds, row: int, score: float, rows: Rows, scores: Floats) -> int:
    """Return where a post that is not among these goes, best first, in time logarithmic in ties."""
    end = len(scores) - int(scores[::-1].searchsorted(score))
    if not end or scores.item(end - 1) != score:
        return end
    start = len(scores) - int(scores[::-1].searchsorted(score, "right"))
    post_id = ids[row]
    at = bisect_left(range(start, end), True, key=lambda at: ids[rows.item(at)] < post_id)
    return start + at


def order_of_ties(ids: PostIds, rows: Rows, scores: Floats, is_new: Flags) -> Positions | None:
    """Return the order of posts if `scores` has ties among which some post is new, else None.

    Of equal scores the posts that are not new are sorted already, and come before the new ones.
    """
    if not (scores[1:] == scores[:-1]).any():
        return None
    starts, ends = runs(scores)
    order = np.arange(len(scores))
    has_new = np.logical_or.reduceat(is_new, starts)
    for run in np.flatnonzero(has_new & (ends - starts > 1)).tolist():
        part = slice(starts[run], ends[run])
        tied, new = order[part], is_new[part]
        order[part] = _merged(ids, rows, tied[~new], tied[new])
    return order


def _merged(ids: PostIds, rows: Rows, old: Positions, new: Positions) -> Positions:
    """Return sorted positions, with new positions in their places among them."""

    @cache
    def id_at(position: int) -> str:
        return ids[rows.item(position)]

    ordered = sorted(new.tolist(), key=id_at, reverse=True)
    positions = old.tolist()
    places = [
        bisect_left(positions, True, key=lambda at: id_at(at) < id_at(position))
        for position in ordered
    ]
    return np.insert(old, places, ordered)
