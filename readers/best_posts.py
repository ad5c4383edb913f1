"""The best posts of a feed for one request, exactly, without a stage that only guesses at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import Flags, Rows
from feedmill.rankers.combiner.gate_decisions import DEMOTE, GateDecisions
from feedmill.rankers.score import HOUR_MS, scores_of
from feedmill.readers.pool import Pool, ServedFeed
from feedmill.readers.request import PageRequest
from feedmill.tables.id_table import IdTable

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

# So many candidates at most are scored at once; of more the cells are visited first.
_FEW_CANDIDATES = 3_000
# Cells are visited until they have so many posts for each that is wanted, then twice as many.
_VISITED = 4
# Of so many posts more than are wanted the order is found first: the author cap drops some.
_BEYOND = 32


class Ranked(NamedTuple):
    """Posts, best first: their rows and scores."""

    rows: Rows
    scores: Floats


class Question:
    """A request about one feed as flags and numbers by author and group, for one moment.

    No number outlives the call in which it was found: rows, authors and groups are given to others.
    """

    def __init__(
        self,
        pool: Pool,
        feed: ServedFeed,
        request: PageRequest,
        weights: Weights,
        decisions: GateDecisions,
        now_ms: int,
    ) -> None:
        self.pool, self.view = pool, pool.view
        self.weights, self.decisions = weights, decisions
        self._takes = feed.takes
        self._cutoff_ms = now_ms - int(feed.spec.window_hours * HOUR_MS)
        self._only = self._author_flags(feed.spec.match.authors)
        self._wanted: tuple[Numbers, Numbers] | None = None
        self._wanted_authors = self._wanted_groups = None
        if request.is_of_some:
            authors = self._authors(request.authors or ())
            self._wanted = authors, pool.groups_of(request.communities or ())
            self._wanted_authors = _flags(authors, self.view.authors.bound)
            self._wanted_groups = _flags(self._wanted[1], len(self.view.groups.values))
        self._muted_authors = self._author_flags(request.mute.authors)
        self._muted_groups = self._group_flags(request.mute.communities)
        self._by_author, most_author = self._doublings(request.adjust.authors)
        self._by_group, most_group = self._group_doublings(request.adjust.communities)
        self.most_added = most_author + most_group

    def score(self, rows: Rows) -> Ranked:
        """Score those of these rows that the page may show."""
        view, decisions = self.view, self.decisions
        created_ms, group = view.post.created_ms[rows], view.post.group[rows]
        may = (decisions.code.values[rows] <= DEMOTE) & (created_ms >= self._cutoff_ms)
        may &= self._takes[group]
        author = view.post.author[rows]
        if self._only is not None:
            may &= self._only[author]
        if self._wanted_authors is not None and self._wanted_groups is not None:
            may &= self._wanted_authors[author] | self._wanted_groups[group]
        if self._muted_authors is not None:
            may &= ~self._muted_authors[author]
        if self._muted_groups is not None:
            may &= ~self._muted_groups[group]
        rows, author, group = rows[may], author[may], group[may]
        values = {name: view.signals[name].value.values[rows] for name in self.weights.signals}
        scores = scores_of(self.weights, values, decisions.factor.values[rows], created_ms[may])
        if self._by_author is not None:
            scores += self._by_author[author]
        if self._by_group is not None:
            scores += self._by_group[group]
        return Ranked(rows, scores)

    def candidates(self) -> tuple[int, Callable[[], Rows]]:
        """How many posts of the indexes the page may show at most, and what returns them."""
        groups, authors = self.pool.groups, self.pool.authors
        sizes = groups.size.values[: len(self._takes)]
        taken = self._takes[: len(sizes)]
        of_feed = (
            int(sizes[taken].sum()),
            lambda: groups.rows_of(np.flatnonzero(taken & (sizes > 0))),
        )
        if self._only is not None:
            numbers = np.flatnonzero(self._only[: len(authors.size)])
            of_feed = int(authors.size.values[numbers].sum()), lambda: authors.rows_of(numbers)
        if self._wanted is None:
            return of_feed
        by_author, by_group = self._wanted
        count = int(authors.size.values[by_author].sum() + groups.size.values[by_group].sum())
        if count >= of_feed[0]:
            return of_feed

        def gather() -> Rows:
            of_groups = groups.rows_of(by_group)
            if len(of_groups) and len(by_author) and self._wanted_authors is not None:
                of_groups = of_groups[~self._wanted_authors[self.view.post.author[of_groups]]]
            return np.concatenate([authors.rows_of(by_author), of_groups])

        return count, gather

    def _authors(self, ids: tuple[str, ...]) -> Numbers:
        """The numbers of those authors that have posts here."""
        found = np.array(self.view.authors.find_many(ids), np.intp)
        return found[(found >= 0) & (found < len(self.pool.authors.size))]

    def _author_flags(self, ids: tuple[str, ...]) -> Flags | None:
        return _flags(self._authors(ids), self.view.authors.bound) if ids else None

    def _group_flags(self, communities: tuple[str, ...]) -> Flags | None:
        if not communities:
            return None
        return _flags(self.pool.groups_of(communities), len(self.view.groups.values))

    def _doublings(self, adjust: Mapping[str, float]) -> tuple[Floats | None, float]:
        """By author what is added to a score, and the most of it."""
        if not adjust:
            return None, 0.0
        found = self.view.authors.find_many([*adjust])
        added = np.zeros(self.view.authors.bound + 1)
        for number, doublings in zip(found, adjust.values(), strict=True):
            if number >= 0:
                added[number] = doublings
        return added, max(0.0, *adjust.values())

    def _group_doublings(self, adjust: Mapping[str, float]) -> tuple[Floats | None, float]:
        if not adjust:
            return None, 0.0
        added = np.zeros(len(self.view.groups.values) + 1)
        for community, doublings in adjust.items():
            added[self.pool.groups_of([community])] += doublings
        return added, max(0.0, float(added.max()))


def best_posts(question: Question, most: int) -> Ranked:
    """The best posts for a request, at most so many, no author with more than the cap allows."""
    count, gather = question.candidates()
    if count > _FEW_CANDIDATES:
        found = _from_cells(question, most, count)
        if found is not None:
            return found
    return _order(question, question.score(gather()), most)[0]


def _from_cells(question: Question, most: int, count: int) -> Ranked | None:
    """Visit cells by falling bound until no other can have a better post.

    None once more posts were visited than there are candidates.
    """
    cells = question.pool.cells
    numbers, bounds = cells.bounds(question.weights, question.most_added)
    behind = np.cumsum(cells.rows.size.values[numbers])
    found: list[Ranked] = []
    first, visited, wanted = 0, 0, _VISITED * most
    while True:
        end = min(int(np.searchsorted(behind, visited + wanted, "right")) + 1, len(numbers))
        found.append(question.score(cells.rows.rows_of(numbers[first:end])))
        scored = Ranked(*map(np.concatenate, zip(*found, strict=True)))
        if end == len(numbers):
            return _order(question, scored, most)[0]
        # All that is above the bound of the next cell is there.
        is_certain = scored.scores > bounds[end]
        if np.count_nonzero(is_certain) >= most:
            certain = Ranked(scored.rows[is_certain], scored.scores[is_certain])
            ranked, is_full = _order(question, certain, most)
            if is_full:
                return ranked
        first, visited, wanted = end, int(behind[end - 1]), 2 * wanted
        if visited + wanted > count:
            return None


def _order(question: Question, found: Ranked, most: int) -> tuple[Ranked, bool]:
    """Sort posts, equal scores by falling id, and apply the author cap; whether `most` are left."""
    view, cap = question.view, question.weights.max_per_author
    looked_at = most + _BEYOND
    while True:
        rows, scores = found
        if looked_at < len(rows):
            least = -np.partition(-scores, looked_at - 1)[looked_at - 1]
            some = np.flatnonzero(scores >= least)
            rows, scores = rows[some], scores[some]
        order = np.argsort(-scores, kind="stable")
        rows, scores = rows[order], scores[order]
        _order_equal(rows, scores, view.ids)
        if cap is not None:
            within = _within_cap(view.post.author[rows], cap)
            within_rows, within_scores = rows[within], scores[within]
        else:
            within_rows, within_scores = rows, scores
        is_full = len(within_rows) >= most
        if is_full or len(rows) == len(found.rows):
            return Ranked(within_rows[:most], within_scores[:most]), is_full
        looked_at *= 4


def _order_equal(rows: Rows, scores: Floats, ids: IdTable) -> None:
    """Put rows of equal scores in falling order of their ids, in place."""
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    ends = np.append(starts[1:], len(rows))
    for run in np.flatnonzero(ends - starts > 1).tolist():
        part = slice(int(starts[run]), int(ends[run]))
        rows[part] = sorted(rows[part].tolist(), key=ids.__getitem__, reverse=True)


def _within_cap(authors: Rows, cap: int) -> Numbers:
    """The places, best first, of the posts that are among the first of their authors."""
    order = np.argsort(authors, kind="stable")
    ordered = authors[order]
    is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    starts = np.flatnonzero(is_first)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(order[rank < cap])


def _flags(numbers: Numbers, bound: int) -> Flags:
    """True at these numbers; the last one is that of no number, -1."""
    flags = np.zeros(bound + 1, bool)
    flags[numbers] = True
    return flags
