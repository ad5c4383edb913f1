"""What came before a post: near copies of its text.

A fold over the records of `posts` in one order, in fixed memory; time is that of the records.  What
it says of a post depends on the records before it alone, never on how they were cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.history.clusters import NONE, Clusters
from feedmill.features.history.hash_index import BucketHeads, HashIndex, Sequence32
from feedmill.features.history.near_duplicates import (
    ALIKE,
    BANDS,
    BINS,
    BUCKET_BITS,
    COPIED,
    COPY,
    SignatureBatch,
    consensus,
    is_long_enough,
    sign,
    similarity,
)
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.ngrams import Indices, TextBatch

WINDOW_MS = 10 * 60 * 1000
# A stream read from here on says the same of all that comes after twice the window.
REBUILD_MS = 2 * WINDOW_MS
MOST_COMPARED = 48

_RING_BITS = 18
_MOST_AT_ONCE = 4096
_REACH = (1 << _RING_BITS) - _MOST_AT_ONCE
_MASK = (1 << _RING_BITS) - 1
_NO_ROWS = np.zeros(0, dtype=np.int64)
_NO_ENTRIES = np.zeros(0, dtype=np.uint32)


class PostVersion(NamedTuple):
    """One record of `posts`: a version of a post, or with `text` None its deletion."""

    at_ms: int
    post_id: str
    author_id: str
    text: str | None


class CopyCounts(NamedTuple):
    """What came before one version of a post, within `WINDOW_MS`.

    Attributes
    ----------
    copies
        Other posts with nearly the same text; beyond `campaigns.KEPT` they are not counted.
    authors
        How many wrote those and this one.
    """

    copies: int = 0
    authors: int = 1


class PostHistory:
    """The memory of one stream of posts; one task folds.  About 41 MB, all of it from the start.

    It reaches back `WINDOW_MS`, but not beyond the last 258,048 records.
    """

    def __init__(self) -> None:
        size, self._sequence = 1 << _RING_BITS, 0
        self._at_ms = np.zeros(size, dtype=np.int64)
        self._post = np.zeros(size, dtype=np.int64)
        self._author = np.zeros(size, dtype=np.int64)
        self._shown = np.zeros(size, dtype=np.bool_)
        self._group = np.full(size, NONE, dtype=np.int64)
        self._signed = np.zeros((size, BINS), dtype=np.uint8)
        self._posts = HashIndex(_RING_BITS, _REACH, 0)
        self._bands = BucketHeads(BANDS << BUCKET_BITS, 0)
        self._now_ms = 0
        self._newest = 0
        self._campaigns = Clusters(self._is_recent)

    def fold(
        self,
        versions: Sequence[PostVersion],
        rows: Sequence[int] = (),
        read: PostBatch | None = None,
    ) -> list[CopyCounts]:
        """Take records in their order; what came before each, `CopyCounts()` for deletions.

        `rows` are where they stand in `read`, a batch that others read as well, so that their
        texts are not hashed twice; -1 for those that do not, none if none does.
        """
        said: list[CopyCounts] = []
        for start in range(0, len(versions), _MOST_AT_ONCE):
            end = start + _MOST_AT_ONCE
            said += self._fold(versions[start:end], rows[start:end], read)
        return said

    def _fold(
        self, versions: Sequence[PostVersion], rows_read: Sequence[int], read: PostBatch | None
    ) -> list[CopyCounts]:
        n = len(versions)
        sequence = (np.arange(n) + self._sequence).astype(np.uint32)
        self._sequence = (self._sequence + n) % (1 << 32)
        slots = sequence & _MASK
        shown = np.array([v.text is not None for v in versions], dtype=np.bool_)
        # Hashes of this process: they decide who is equal, and nothing else.
        authors = np.array([hash(v.author_id) for v in versions], dtype=np.int64)
        posts = np.array([hash(v.post_id) for v in versions], dtype=np.int64)
        at_ms = np.array([v.at_ms for v in versions], dtype=np.int64)
        self._at_ms[slots], self._shown[slots] = at_ms, shown
        self._post[slots], self._author[slots], self._group[slots] = posts, authors, NONE

        older = self._older_versions(posts, sequence, at_ms)
        rows, signed = _signed([v.text or "" for v in versions], rows_read, read)
        rows, alike = self._alike(rows, signed, sequence, at_ms)
        copies, wrote = self._campaign_sizes(sequence, at_ms, older, rows, alike)
        said = map(CopyCounts, copies.tolist(), wrote.tolist())
        return [
            past if there else CopyCounts()
            for past, there in zip(said, shown.tolist(), strict=True)
        ]

    def _older_versions(self, posts: Indices, sequence: Sequence32, at_ms: Indices) -> Indices:
        """(n,) the version that each supersedes, `NONE` if there is none inside the window."""
        rows, entries = self._posts.follow(posts, sequence, self._posts.enter(posts, sequence))
        inside = self._at_ms[entries & _MASK] > at_ms[rows] - WINDOW_MS
        older = np.full(len(posts), NONE, dtype=np.int64)
        older[rows[inside]] = entries[inside]
        return older

    def _alike(
        self, rows: Indices, signed: SignatureBatch, sequence: Sequence32, at_ms: Indices
    ) -> tuple[Indices, Sequence32]:
        """Pairs (row, earlier entry) whose texts are alike, inside the window, rows ascending.

        `signed` are the texts at `rows` that can be compared.
        """
        own = sequence[rows]
        self._signed[own & _MASK] = signed.signatures
        entered = np.repeat(own, BANDS)
        found = self._bands.link(signed.buckets.ravel(), entered)
        which = np.repeat(np.arange(len(rows)), BANDS)
        near = (entered - found - np.uint32(1)) < _REACH
        if not near.any():
            return _NO_ROWS, _NO_ENTRIES
        which, found = which[near], found[near]
        near = self._at_ms[found & _MASK] > at_ms[rows[which]] - WINDOW_MS
        pairs = np.unique(which[near] << 32 | found[near].astype(np.int64))
        which, found = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.uint32)
        alike = similarity(signed.signatures[which], self._signed[found & _MASK]) >= ALIKE
        return rows[which[alike]], found[alike]

    def _campaign_sizes(
        self,
        sequence: Sequence32,
        at_ms: Indices,
        older: Indices,
        rows: Indices,
        alike: Sequence32,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(n,) copies and authors; goes in order over the few posts that have either to tell."""
        copies, authors = np.zeros(len(sequence), np.int64), np.ones(len(sequence), np.int64)
        for i, found in _by_row(rows, alike, np.flatnonzero(older != NONE)):
            self._now_ms, self._newest = int(at_ms[i]), int(sequence[i])
            if older[i] != NONE:
                self._shown[older[i] & _MASK] = False
            if found:
                copies[i], authors[i] = self._join(int(sequence[i]), found)
        return copies, authors

    def _join(self, entry: int, near: Sequence[int]) -> tuple[int, int]:
        """Count the entries alike to this one, by how many others; put it with most of them.

        Looked at are the nearest ones and the groups they are in.
        """
        slot = entry & _MASK
        groups = {int(self._group[other & _MASK]) for other in near}
        known = [group for group in sorted(groups) if self._campaigns.knows(group)]
        members = {group: self._campaigns.members(group) for group in known}
        recent = self._recent([*near, *(m for group in known for m in members[group])])
        signed = self._signed[np.append(recent & _MASK, slot)]
        alike = similarity(signed, signed[-1:]) >= ALIKE
        self._put(entry, members, recent, recent[alike[:-1]])
        places, signed = recent[alike[:-1]][-MOST_COMPARED:] & _MASK, signed[alike]
        signed = signed[-1 - len(places) :]
        near_origin = similarity(signed, consensus(signed))
        if near_origin[-1] < COPY:
            return 0, 1
        places = places[near_origin[:-1] >= COPIED]
        places = places[self._shown[places] & (self._post[places] != self._post[slot])]
        return len(places), len({*self._author[places].tolist(), int(self._author[slot])})

    def _put(
        self, entry: int, members: Mapping[int, Sequence[int]], recent: Indices, alike: Indices
    ) -> None:
        """Add an entry to the group most alike to it, if half of its members are; or open one."""
        best, share = NONE, 0.5
        inside, like = set(recent.tolist()), set(alike.tolist())
        for group, entries in members.items():
            now = inside.intersection(entries)
            part = len(now & like) / max(len(now), 1)
            if part >= share:
                best, share = group, part
        if best != NONE:
            self._campaigns.add(best, entry)
        elif len(alike):
            best = self._campaigns.open([*alike.tolist(), entry])
            for other in alike.tolist():
                if not self._campaigns.knows(int(self._group[other & _MASK])):
                    self._group[other & _MASK] = best
        self._group[entry & _MASK] = best

    def _recent(self, entries: Sequence[int]) -> Indices:
        """Those of the entries that are reachable and in the window, each once, oldest first."""
        ages = np.unique((self._newest - np.array(entries, dtype=np.int64)) % (1 << 32))[::-1]
        found = (self._newest - ages[ages < _REACH]) % (1 << 32)
        inside: Indices = found[self._at_ms[found & _MASK] > self._now_ms - WINDOW_MS]
        return inside

    def _is_recent(self, entry: int) -> bool:
        return len(self._recent([entry])) > 0


def _signed(
    texts: Sequence[str], rows_read: Sequence[int], read: PostBatch | None
) -> tuple[Indices, SignatureBatch]:
    """Those of the texts that can be compared: their positions, ascending, and as signed."""
    rows = np.array([i for i, text in enumerate(texts) if is_long_enough(text)], dtype=np.int64)
    if read is None:
        signed = sign(TextBatch([texts[i] for i in rows.tolist()]))
    else:
        at = np.array(rows_read, dtype=np.int64)[rows]
        there = at >= 0
        signed = read.signed.of(at[there])
        if len(signed.varied) < len(rows):
            more = sign(TextBatch([texts[i] for i in rows[~there].tolist()]))
            order = np.concatenate([np.flatnonzero(there), np.flatnonzero(~there)])
            signed = signed.and_then(more).of(np.argsort(order))
    return rows[signed.varied], signed.of(signed.varied)


def _by_row(rows: Indices, alike: Sequence32, others: Indices) -> Iterator[tuple[int, list[int]]]:
    """Each row that has alike entries or stands among `others`, ascending, with those entries."""
    found: dict[int, list[int]] = {row: [] for row in others.tolist()}
    for row, entry in zip(rows.tolist(), alike.tolist(), strict=True):
        found.setdefault(row, []).append(entry)
    for row in sorted(found):
        yield row, found[row]
