"""Which rows overrides are about: asked of many rows at once, and found again in slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feedmill.events.override import OverrideKey
from feedmill.events.post import Post
from feedmill.rankers.combiner.overrides import OverrideTable
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.tables.id_table import IdTable
from feedmill.tables.mapped_column import MappedColumn, in_chunks

Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

# So many rows are searched at once for posts of authors.
_SLICE_ROWS = 1 << 17


class OverriddenRows:
    """Flags of posts and authors that overrides are about, in force or not.

    Every record of a post sets its flags, and every override those of what it is about; so a flag
    may be left of another post or author, which costs time, but none is missing.

    Parameters
    ----------
    table
        All overrides.
    ids, authors
        Post ids by row, and author ids by number.
    """

    def __init__(self, table: OverrideTable, ids: IdTable, authors: IdTable) -> None:
        self._table = table
        self._ids = ids
        self._authors = authors
        self._is_post: MappedColumn[np.bool_] = MappedColumn(np.bool_)
        self._is_author: MappedColumn[np.bool_] = MappedColumn(np.bool_)
        self._due: set[int] = set()  # authors whose posts are to be found
        self._wanted: Flags = np.zeros(0, bool)  # by author, while their posts are being found
        self._from_row = 0

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows."""
        self._is_post.grow(capacity)
        self._have_authors()

    def holds(self, row: int, author: int) -> bool:
        """Whether an override is about the post in this row, or its author."""
        return len(self._table) > 0 and (self._is_post.cells[row] or self._is_author.cells[author])

    def among(self, rows: RowSelection, authors: Rows) -> Flags:
        """For each row whether an override is about its post or author; `authors` is of all rows.

        What it says of a row without a post means nothing.
        """
        of_rows = authors[rows]
        if not len(self._table):
            return np.zeros(len(of_rows), bool)
        flags: Flags = self._is_post.values[rows] | self._is_author.values[of_rows]
        return flags

    def note(self, row: int, post: Post, author: int) -> None:
        """The post in this row is new, or of a new version."""
        self._have_authors()
        if len(self._table):
            self._is_post.cells[row] = self._table.has("post", post.post_id)
            self._is_author.cells[author] = self._table.has("author", post.author_id)

    def follow(self, key: OverrideKey) -> Rows:
        """An override changed, or ran out; returns the post that it is about.

        The posts of an author are found by `find_some`.
        """
        has = self._table.has(key.kind, key.id)
        if key.kind == "post":
            row = self._ids.find(key.id)
            if row is None:
                return np.empty(0, np.int32)
            self._is_post.cells[row] = has
            return np.array([row], np.int32)
        author = self._authors.find(key.id)
        if author is not None:
            self._is_author.cells[author] = has
            self._due.add(author)
        return np.empty(0, np.int32)

    @property
    def is_searching(self) -> bool:
        """Whether `find_some` has more to do."""
        return bool(self._due) or len(self._wanted) > 0

    def find_some(self, authors: Rows, most: int) -> Rows:
        """The posts of authors whose overrides changed, at most so many, of the next slice of rows.

        A search is for all authors that are due when it begins: it takes some 3 ms at a million
        rows, in slices of a tenth.  Asked for few at a time, new posts do not wait behind all.
        """
        if not len(self._wanted):
            self._wanted = np.zeros(self._authors.bound + 1, bool)  # -1 marks the last
            self._wanted[list(self._due)] = True
            self._due.clear()
            self._from_row = 0
        start = self._from_row
        part = authors[start : start + _SLICE_ROWS]
        # Authors that came meanwhile were not due.
        is_wanted = self._wanted[np.minimum(part, len(self._wanted) - 1)]
        found = np.flatnonzero(is_wanted)[:most] + start
        self._from_row = int(found[-1]) + 1 if len(found) == most else start + len(part)
        if self._from_row >= len(authors):
            self._wanted = np.zeros(0, bool)
        return found.astype(np.int32)

    def _have_authors(self) -> None:
        if self._authors.bound >= len(self._is_author):
            self._is_author.grow(in_chunks(self._authors.bound + 1))
