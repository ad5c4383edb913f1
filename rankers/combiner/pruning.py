"""Authors and groups of posts are forgotten once no post has them."""

from __future__ import annotations

from feedmill.rankers.combiner.columns import InternTable, PostColumns
from feedmill.tables.id_table import IdTable

_PRUNED_AT_ONCE = 512
# Rows whose authors and groups are noted at once: some milliseconds.
_MARKED_AT_ONCE = 1 << 19


class Pruning:
    """Forgets authors and groups that have no post, once they are many, some at each call."""

    def __init__(self, post: PostColumns, authors: IdTable, groups: InternTable) -> None:
        self._post = post
        self._authors = authors
        self._groups = groups
        self._kept = 0  # authors and groups, when they were pruned last
        self._unmarked = 0  # rows to be looked at before any is forgotten

    @property
    def is_running(self) -> bool:
        """Whether `go_on` has more to do."""
        return self._authors.sweeping.is_running or self._groups.sweeping.is_running

    def go_on(self) -> list[int]:
        """Begin if it is time, and forget some.

        No row may be changed and not taken when it is called.  Returns the numbers of the groups
        that are forgotten, for others to use: the caller drops what refers to them.
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
