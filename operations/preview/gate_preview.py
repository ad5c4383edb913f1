"""What other thresholds would do to recent posts, by source, from a view of them.

Every post is decided twice, by the code of the combiner, overrides included: they hold under any
threshold.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.signal import SignalNames
from feedmill.filters.hide_rate_guard import sources_of
from feedmill.rankers.combiner.columns import InternTable
from feedmill.rankers.combiner.feed_set import decide_all
from feedmill.rankers.combiner.gate_decisions import DECISIONS, HOLD, DecisionName
from feedmill.rankers.combiner.view import PostView
from feedmill.tables.mapped_column import MappedColumn

ALL = "all"
_CODES = HOLD + 1
_CHANGES = _CODES * _CODES

Gates = Mapping[str, GatePolicy]
Numbers = npt.NDArray[np.int32]
# How many posts have each decision now and then: shape (4, 4).
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SourceRow:
    """One source of posts, `ALL` for all of them together.

    Attributes
    ----------
    source
        As `sources_of` calls it.
    posts
        How many there are.
    before, after
        By decision how many of them get it under the present and under the other gates.
    examples
        By change, such as ``show to hide``, the ids of some posts.
    """

    source: str
    posts: int
    before: Mapping[DecisionName, int]
    after: Mapping[DecisionName, int]
    examples: Mapping[str, Sequence[str]]

    @property
    def changed(self) -> bool:
        """Whether any post is decided otherwise."""
        return bool(self.examples)


class SourcedView(PostView):
    """A view of gates that also knows the domains to which posts link.

    Signals about posts that are not there do not wait: nothing comes after them.
    """

    def __init__(self, names: SignalNames) -> None:
        super().__init__(replace(names, objectives=(), costs=()), most_early=0)
        self._domains = InternTable()
        self._domains_of = MappedColumn(np.int32, -1)

    @property
    def domains(self) -> Numbers:
        """By row the number of the domains of its post."""
        self._domains_of.grow(self.capacity)
        return self._domains_of.values

    def _put_post(self, row: int, author: int, post: Post, offset: int, timestamp_ms: int) -> None:
        super()._put_post(row, author, post, offset, timestamp_ms)
        if self.post.offset[row] == offset:
            domains = tuple(source for source in sources_of(post) if source.startswith("host:"))
            self.domains[row] = self._domains.number(domains)

    def sources_of_row(self, row: int) -> list[str]:
        """The sources of the post in a row."""
        return [
            *self.of_group(self.post.group.item(row)),
            f"author:{self.author_of(row)}",
            *self.of_domains(self.domains.item(row)),
        ]

    def of_group(self, number: int) -> list[str]:
        """The sources that posts of a group have."""
        group = self.groups.values[number]
        langs = () if group.lang is None else (f"lang:{group.lang}",)
        return [*(f"community:{name}" for name in group.communities), *langs]

    def of_domains(self, number: int) -> Sequence[str]:
        """The sources that posts with these domains have."""
        domains: tuple[str, ...] = self._domains.values[number]
        return domains


def compare_gates(
    view: SourcedView, before: Gates, after: Gates, now_ms: int, examples: int
) -> list[SourceRow]:
    """Decide all posts of a view under both policies.

    Parameters
    ----------
    view
        The posts, their sources, signals of gates, and overrides.
    before, after
        The policy of each gate.
    now_ms
        Unix milliseconds: posts without a verdict wait until their grace is over.
    examples
        How many ids are named of each source and change, drawn by a hash of the id.

    Returns
    -------
    The row of all posts; then the sources, those with the most changed decisions first.
    """
    rows = view.live_rows()
    old, new = (
        decide_all(view, gates, now_ms).code.values[rows].astype(int) for gates in (before, after)
    )
    pairs = old * _CODES + new
    named = _examples(view, rows[old != new], pairs[old != new], examples)
    counts = _by_source(view, rows, pairs)
    order = sorted(counts, key=lambda source: (-_changed(counts[source]), source))
    every = np.bincount(pairs, minlength=_CHANGES).reshape(_CODES, _CODES)
    return [
        _row(ALL, every, named.get(ALL, {})),
        *(_row(source, counts[source], named.get(source, {})) for source in order),
    ]


def _by_source(view: SourcedView, rows: Numbers, pairs: npt.NDArray[np.int64]) -> dict[str, Counts]:
    """By source how many of its posts have each decision now (axis 0) and then (axis 1)."""
    found: dict[str, Counts] = {}
    for number, counts in _by_number(view.post.author[rows], pairs):
        found[f"author:{view.authors[number]}"] = counts
    for numbers, sources_of_number in (
        (view.post.group[rows], view.of_group),
        (view.domains[rows], view.of_domains),
    ):
        for number, counts in _by_number(numbers, pairs):
            for source in sources_of_number(number):
                found[source] = found[source] + counts if source in found else counts
    return found


def _by_number(numbers: Numbers, pairs: npt.NDArray[np.int64]) -> Iterator[tuple[int, Counts]]:
    """The numbers that occur, each with the pairs of decisions that go with it."""
    known, places = np.unique(numbers, return_inverse=True)
    size = len(known) * _CHANGES
    counts = np.bincount(places * _CHANGES + pairs, minlength=size)
    yield from zip(known.tolist(), counts.reshape(-1, _CODES, _CODES), strict=True)


def _changed(counts: Counts) -> int:
    return int(counts.sum() - np.trace(counts))


def _row(source: str, counts: Counts, examples: Mapping[str, Sequence[str]]) -> SourceRow:
    before, after = (_decisions(counts.sum(axis)) for axis in (1, 0))
    return SourceRow(source, int(counts.sum()), before, after, examples)


def _decisions(counts: npt.NDArray[np.int64]) -> dict[DecisionName, int]:
    return {DECISIONS[code]: int(counts[code]) for code in range(_CODES)}


def _examples(
    view: SourcedView, rows: Numbers, pairs: npt.NDArray[np.int64], most: int
) -> dict[str, dict[str, list[str]]]:
    """By source and change some ids of these posts, whose decisions change."""
    found: dict[str, dict[str, list[str]]] = {}
    ids = view.ids.read_many(rows)
    for place in sorted(range(len(ids)), key=lambda n: (zlib.crc32(ids[n].encode()), ids[n])):
        old, new = divmod(int(pairs[place]), _CODES)
        change = f"{DECISIONS[old]} to {DECISIONS[new]}"
        for source in (ALL, *view.sources_of_row(int(rows[place]))):
            of_change = found.setdefault(source, {}).setdefault(change, [])
            if len(of_change) < most:
                of_change.append(ids[place])
    return found
