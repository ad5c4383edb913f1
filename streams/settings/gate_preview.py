"""What other thresholds would do to recent posts, from the signals that were recorded of them.

A fold over `posts` and `signals.<gate>`; then `compare` decides every post twice, by the code of
the combiner.  Overrides are left out: they hold under any threshold.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent
from feedmill.events.gates import GatePolicy
from feedmill.events.newest_signals import NewestSignals
from feedmill.events.post import Deletion
from feedmill.events.signal import Signal, SignalNames
from feedmill.filters.hide_rate_guard import sources_of
from feedmill.rankers.combiner.gating import DECISIONS, HOLD, DecisionName, decide_many

ALL = "all"

Gates = Mapping[str, GatePolicy]
Codes = npt.NDArray[np.uint8]


class SourceRow(NamedTuple):
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


class _RecentPost(NamedTuple):
    """The present version of a post."""

    offset: int
    at_ms: int
    sources: tuple[str, ...]


class _Judged(NamedTuple):
    """The version of a post that a gate's signal is of, and its value, NaN without one."""

    offset: int
    value: float

    @classmethod
    def of(cls, signal: Signal) -> _Judged:
        return cls(signal.post_offset, np.nan if signal.value is None else signal.value)


_NOT_JUDGED = _Judged(-1, np.nan)


class RecentSignals:
    """Posts and the signals of gates, record by record; signals come after the posts."""

    def __init__(self, names: SignalNames) -> None:
        self._names = names
        self._posts: dict[str, _RecentPost] = {}
        self._signals = {gate: NewestSignals(gate, names, _Judged.of) for gate in names.gates}

    def add_post(self, key: bytes | None, value: bytes | None, offset: int, at_ms: int) -> None:
        """Fold a record of `posts`; one that breaks the contract is passed over."""
        try:
            post = decode_post(key, value)
        except BadEvent:
            return
        if isinstance(post, Deletion):
            self._posts.pop(post.post_id, None)
        else:
            self._posts[post.post_id] = _RecentPost(offset, at_ms, sources_of(post))

    def add_signal(self, gate: str, key: bytes | None, value: bytes | None) -> None:
        """Fold a record of ``signals.<gate>``; an empty one withdraws the signal."""
        self._signals[gate].add(key, value)

    def compare(self, before: Gates, after: Gates, now_ms: int, examples: int) -> list[SourceRow]:
        """Decide all posts under both policies.

        Parameters
        ----------
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
        ids = list(self._posts)
        codes = [self._decisions(ids, gates, now_ms) for gates in (before, after)]
        by_source: dict[str, list[int]] = {ALL: list(range(len(ids)))}
        for place, post_id in enumerate(ids):
            for source in self._posts[post_id].sources:
                by_source.setdefault(source, []).append(place)
        rows = [_row(name, ids, places, codes, examples) for name, places in by_source.items()]
        changes = {row.source: _changes(codes, by_source[row.source]) for row in rows}
        return [rows[0], *sorted(rows[1:], key=lambda row: (-changes[row.source], row.source))]

    def _decisions(self, ids: Sequence[str], gates: Gates, now_ms: int) -> Codes:
        """Return the decision of each post: (posts,)."""
        posts = [self._posts[post_id] for post_id in ids]
        arrived_ms = np.array([post.at_ms for post in posts], dtype=np.int64)
        offsets = np.array([post.offset for post in posts], dtype=np.int64)
        values, judged = {}, {}
        for gate in gates:
            known = self._signals[gate]
            found = [known.get(post_id) or _NOT_JUDGED for post_id in ids]
            values[gate] = np.array([one.value for one in found], dtype=np.float32)
            judged[gate] = np.array([one.offset for one in found], dtype=np.int64) == offsets
        return decide_many(gates, values, judged, arrived_ms, now_ms)[0]


def _row(
    source: str, ids: Sequence[str], places: Sequence[int], codes: Sequence[Codes], examples: int
) -> SourceRow:
    before, after = (_counts(part[places]) for part in codes)
    return SourceRow(source, len(places), before, after, _examples(ids, places, codes, examples))


def _counts(codes: Codes) -> dict[DecisionName, int]:
    numbers = np.bincount(codes, minlength=len(DECISIONS))
    return {DECISIONS[code]: int(numbers[code]) for code in range(HOLD + 1)}


def _changes(codes: Sequence[Codes], places: Sequence[int]) -> int:
    return int((codes[0][places] != codes[1][places]).sum())


def _examples(
    ids: Sequence[str], places: Sequence[int], codes: Sequence[Codes], most: int
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    changed = (place for place in places if codes[0][place] != codes[1][place])
    for place in sorted(changed, key=lambda n: (zlib.crc32(ids[n].encode()), ids[n])):
        old, new = (DECISIONS[int(part[place])] for part in codes)
        of_change = found.setdefault(f"{old} to {new}", [])
        if len(of_change) < most:
            of_change.append(ids[place])
    return found
