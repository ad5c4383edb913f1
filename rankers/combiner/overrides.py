"""Moderators' overrides: which is in force for a post, and which rows they are about."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Post
from feedmill.rankers.combiner.columns import Flags, Rows
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.tables.id_table import IdTable
from feedmill.tables.mapped_column import MappedColumn, in_chunks

# Ends of overrides that were replaced or withdrawn are cleaned up beyond this number.
_FEW_ENDS = 1024
# How many rows are searched at once for posts of authors.
_SLICE_ROWS = 1 << 17


@dataclass(frozen=True)
class ActiveOverride:
    """The override that decides one gate of one post."""

    key: OverrideKey
    override: Override


class OverrideTable:
    """All overrides, by the post or author they are about."""

    def __init__(self) -> None:
        self._by_subject: dict[str, dict[str, ActiveOverride]] = {}
        self._count = 0
        # When overrides run out, the next first; some were replaced or withdrawn.
        self._ends: list[tuple[int, OverrideKey]] = []

    def __len__(self) -> int:
        """Return how many posts and authors have an override."""
        return len(self._by_subject)

    def update(self, key: OverrideKey, override: Override | None) -> None:
        """Set an override, or withdraw it with None."""
        gates = self._by_subject.get(key.subject, {})
        before = len(gates)
        if override is None:
            gates.pop(key.gate, None)
        else:
            gates[key.gate] = ActiveOverride(key, override)
            if override.expires_at_ms is not None:
                heapq.heappush(self._ends, (override.expires_at_ms, key))
        self._count += len(gates) - before
        if not gates:
            self._by_subject.pop(key.subject, None)
        elif not before:
            self._by_subject[key.subject] = gates
        if len(self._ends) > 2 * self._count + _FEW_ENDS:
            self.collect_ends()

    def has(self, kind: str, subject_id: str) -> bool:
        """Whether any override, in force or not, is about this post or author."""
        return f"{kind}:{subject_id}" in self._by_subject

    def in_force(
        self, post_id: str, author_id: str, post_offset: int, gates: Sequence[str], now_ms: int
    ) -> dict[str, ActiveOverride]:
        """Return by gate what decides it now: post beats author, a named gate beats `*`."""
        in_force: dict[str, ActiveOverride] = {}
        for subject in (f"author:{author_id}", f"post:{post_id}"):
            by_gate = self._by_subject.get(subject)
            if not by_gate:
                continue
            for name in ("*", *gates):
                active = by_gate.get(name)
                if active is not None and _is_in_force(active.override, post_offset, now_ms):
                    in_force.update(dict.fromkeys(gates if name == "*" else (name,), active))
        return in_force

    def take_expired(self, now_ms: int) -> Iterator[OverrideKey]:
        """Yield the keys of overrides that ran out by now, each once; no others are looked at.

        Some may have been replaced or withdrawn meanwhile.
        """
        while self._ends and self._ends[0][0] <= now_ms:
            yield heapq.heappop(self._ends)[1]

    def collect_ends(self) -> None:
        """List anew when the overrides that are there run out."""
        self._ends = [
            (end_ms, active.key)
            for gates in self._by_subject.values()
            for active in gates.values()
            if (end_ms := active.override.expires_at_ms) is not None
        ]
        heapq.heapify(self._ends)


def _is_in_force(override: Override, post_offset: int, now_ms: int) -> bool:
    if override.expires_at_ms is not None and override.expires_at_ms <= now_ms:
        return False
    # `allow` holds for the version that was reviewed; a hidden post stays hidden when edited.
    approved_offset = override.post_offset if override.verdict == "allow" else None
    return approved_offset is None or approved_offset == post_offset


class OverriddenRows:
    """Flags of posts and authors that overrides are about, in force or not.

    Every record of a post sets its flags, and every override the flags of what it is about.  So a
    flag may be left of another post or author, which costs time, but no flag is missing.
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
        return bool(self._is_post.cells[row] or self._is_author.cells[author])

    def among(self, rows: RowSelection, authors: Rows) -> Flags:
        """For each row whether an override is about its post or author; `authors` is of all rows.

        The flag of a row without a post means nothing.
        """
        of_rows = authors[rows]
        if not len(self._table):
            return np.zeros(len(of_rows), bool)
        flags: Flags = self._is_post.values[rows] | self._is_author.values[of_rows]
        return flags

    def flag_post(self, row: int, post: Post, author: int) -> None:
        """Set the flags of the post in this row, which is new, or of a new version."""
        self._have_authors()
        if len(self._table):
            self._is_post.cells[row] = self._table.has("post", post.post_id)
            self._is_author.cells[author] = self._table.has("author", post.author_id)

    def flag_override(self, key: OverrideKey) -> Rows:
        """Set the flag of what an override is about that changed or ran out; return the post.

        `find_some` finds the posts of an author.
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
        """Return the posts, at most so many, of authors whose overrides changed, in the next slice.

        A search is for all authors that are due when it begins: it takes some 3 ms at a million
        rows, in slices of a tenth.  Asked for few posts at a time, new posts do not wait behind all
        of them.
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
