"""How many near copies of a post's text came before it, and from how many authors.

A fold over the records of `posts` in one order, in fixed memory.  Time is that of the records.
The answer for a post depends on the records before it alone, never on how they were cut into
batches.

Posts are numbered by a uint32 sequence that wraps, and kept in a ring.  A post can be found while
it is at most `reach` older than the post that looks for it.  `BucketHeads` and `HashIndex` insert a
whole batch at once, so the ring is longer than `reach` plus the largest batch.

Clusters are of posts with similar texts: where to look for more copies than the nearest one.  Each
keeps its last `MAX_MEMBERS` members, and there are `MAX_CLUSTERS` slots.  A new cluster replaces
one without recent members where it finds such a one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.minhash import (
    BANDS,
    BINS,
    BUCKET_BITS,
    MIN_COPY_SIMILARITY,
    MIN_NEW_COPY_SIMILARITY,
    MIN_SIMILARITY,
    SignatureBatch,
    consensus,
    is_long_enough,
    minhash,
    similarity,
)
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.byte_rows import Indices
from feedmill.features.text.ngrams import five_grams

Sequence32 = npt.NDArray[np.uint32]
# For so few buckets, a set finds out faster than a sort that no two are equal.
_FEW_BUCKETS = 32
WINDOW_MS = 10 * 60 * 1000
# Who posted a text first is known for so long after that post.
FIRST_MS = 2 * WINDOW_MS
# A history that starts so long before a record gives the same answers from that record on.
REBUILD_MS = FIRST_MS + WINDOW_MS
MAX_COMPARED = 48

_RING_BITS = 18
_MAX_BATCH = 4096
_REACH = (1 << _RING_BITS) - _MAX_BATCH
_MASK = (1 << _RING_BITS) - 1
_NO_ENTRY = -1
_NO_ROWS = np.zeros(0, dtype=np.int64)
_NO_ENTRIES = np.zeros(0, dtype=np.uint32)


class BucketHeads:
    """The newest entry of each bucket."""

    def __init__(self, buckets: int, first: int) -> None:
        # An empty bucket holds an entry out of reach: half the number space older than `first`.
        self._newest = np.full(buckets, (first + (1 << 31)) % (1 << 32), dtype=np.uint32)

    def push_one(self, buckets: Indices | list[int], entry: int) -> list[int]:
        """Make one entry the newest of buckets that differ; return what was the newest of each."""
        previous: list[int] = self._newest[buckets].tolist()
        self._newest[buckets] = entry
        return previous

    def push(self, buckets: Indices, sequence: Sequence32) -> Sequence32:
        """Make entries the newest of their buckets, in order.

        Returns
        -------
        (n,) what was the newest entry of the bucket just before each of them, from this batch or
        an earlier one; an entry out of reach where there was none.
        """
        if len(buckets) <= _FEW_BUCKETS and len(set(buckets.tolist())) == len(buckets):
            previous: Sequence32 = self._newest[buckets]
            self._newest[buckets] = sequence
            return previous
        order = np.argsort(buckets, kind="stable")
        ordered, entries = buckets[order], sequence[order]
        is_first = np.append(True, ordered[1:] != ordered[:-1])
        before = np.empty_like(entries)
        before[1:] = entries[:-1]
        before[is_first] = self._newest[ordered[is_first]]
        is_last = np.append(is_first[1:], True)
        self._newest[ordered[is_last]] = entries[is_last]
        previous = np.empty_like(before)
        previous[order] = before
        return previous


class HashIndex:
    """The newest earlier entry of a key: a hash table whose buckets are linked lists of entries.

    Parameters
    ----------
    bits
        The ring has 2**bits entries, the hash table as many buckets.
    reach
        How many entries older a match may be; less than 2**bits by at least the largest batch.
    """

    def __init__(self, bits: int, reach: int, first: int) -> None:
        self._mask = (1 << bits) - 1
        self._reach = reach
        self._heads = BucketHeads(1 << bits, first)
        self._next = np.full(1 << bits, 0, dtype=np.uint32)
        self._keys = np.full(1 << bits, 0, dtype=np.int64)

    def insert(self, keys: Indices, sequence: Sequence32) -> tuple[Indices, Sequence32]:
        """Insert (n,) entries under (n,) keys, oldest first.

        Returns
        -------
        The rows that have an earlier entry of the same key within reach, in no order, and that
        entry of each, the newest one.  It may belong to this batch.
        """
        slots = sequence & self._mask
        candidates = self._heads.push((keys ^ (keys >> 29)) & self._mask, sequence)
        self._next[slots], self._keys[slots] = candidates, keys
        return self._matches(keys, sequence, candidates)

    def insert_one(self, key: int, entry: int) -> int | None:
        """Insert one entry; return the newest earlier entry of its key within reach, or None."""
        slot = entry & self._mask
        (candidate,) = self._heads.push_one([(key ^ (key >> 29)) & self._mask], entry)
        self._next[slot], self._keys[slot] = candidate, key
        while (entry - candidate - 1) % (1 << 32) < self._reach:
            at = candidate & self._mask
            if self._keys[at] == key:
                return candidate
            candidate = self._next.item(at)
        return None

    def _matches(
        self, keys: Indices, sequence: Sequence32, candidates: Sequence32
    ) -> tuple[Indices, Sequence32]:
        """Walk all lists at once, from each candidate back to the first entry of the same key."""
        rows = np.arange(len(keys))
        matched_rows, matches = [], []
        while len(rows):
            is_reachable = sequence[rows] - candidates - np.uint32(1) < self._reach
            rows, candidates = rows[is_reachable], candidates[is_reachable]
            is_match = self._keys[candidates & self._mask] == keys[rows]
            matched_rows.append(rows[is_match])
            matches.append(candidates[is_match])
            rows, candidates = rows[~is_match], self._next[candidates[~is_match] & self._mask]
        if not matches:
            return rows, candidates
        return np.concatenate(matched_rows), np.concatenate(matches)


NO_CLUSTER = -1
MAX_MEMBERS = 32
MAX_CLUSTERS = 1 << 13
_SLOTS_TRIED = 16


class Clusters:
    """Clusters of entries, in fixed memory.

    A cluster's number only grows; its slot is the number modulo `MAX_CLUSTERS`, so that a cluster
    is forgotten when a later one takes its slot.  Entries are sequence numbers (uint32).

    Parameters
    ----------
    is_recent
        Whether an entry lies inside the time window at the moment of the call.
    """

    def __init__(self, is_recent: Callable[[int], bool]) -> None:
        self._is_recent = is_recent
        self._numbers = np.full(MAX_CLUSTERS, NO_CLUSTER, dtype=np.int64)
        self._members = np.zeros((MAX_CLUSTERS, MAX_MEMBERS), dtype=np.uint32)
        self._member_counts = np.zeros(MAX_CLUSTERS, dtype=np.int32)
        self._next_number = 0

    def __contains__(self, cluster: int) -> bool:
        """Whether this cluster is still remembered."""
        return cluster != NO_CLUSTER and int(self._numbers[cluster % MAX_CLUSTERS]) == cluster

    def members(self, cluster: int) -> list[int]:
        """Return the members of a remembered cluster, oldest first; not all need be recent."""
        slot = cluster % MAX_CLUSTERS
        members: list[int] = self._members[slot, : self._member_counts[slot]].tolist()
        return members

    def add(self, cluster: int, entry: int) -> None:
        """Add the newest entry to a remembered cluster; a full one drops its oldest member."""
        slot = cluster % MAX_CLUSTERS
        count = int(self._member_counts[slot])
        if count == MAX_MEMBERS:
            self._members[slot, :-1] = self._members[slot, 1:]
            count -= 1
        self._members[slot, count] = entry
        self._member_counts[slot] = count + 1

    def create(self, entries: Sequence[int]) -> int:
        """Make a cluster of entries, oldest first, and return its number.

        It takes the next slot whose cluster has no recent member, among the next 16 slots; if all
        have some, the last of them.
        """
        for number in range(self._next_number, self._next_number + _SLOTS_TRIED):
            members = self.members(number)
            if not members or not self._is_recent(members[-1]):
                break
        self._next_number = number + 1
        slot = number % MAX_CLUSTERS
        self._numbers[slot], self._member_counts[slot] = number, 0
        for entry in entries[-MAX_MEMBERS:]:
            self.add(number, entry)
        return number


class PostRecord(NamedTuple):
    """One record of `posts`: a version of a post, or its deletion if `text` is None.

    `at_ms` is the timestamp of the record, Unix milliseconds.
    """

    at_ms: int
    post_id: str
    author_id: str
    text: str | None


class CopyCounts(NamedTuple):
    """The near copies that came before one version of a post, within `WINDOW_MS`.

    Attributes
    ----------
    copies
        Other posts with nearly the same text, at most `MAX_COMPARED`.
    authors
        How many authors wrote those and this one, at least 1.
    own
        How many of the copies are by the author of this version; None unless this author posted
        the text first.
    """

    copies: int = 0
    authors: int = 1
    own: int | None = None


class PostHistory:
    """The memory of one stream of posts.  About 42 MB, all of it allocated at the start.

    It reaches back `WINDOW_MS`, but not beyond the last 258,048 records.  Each post takes the first
    author of a text from the posts before it that resemble it.  So the first author is known for
    `FIRST_MS`, while copies go on, after the first post has left the window, or was edited or
    deleted.  Nobody is the first author of a text that is older and was copied ever since.

    Not safe for more than one thread or task at a time; does not block.
    """

    def __init__(self) -> None:
        size, self._next_entry = 1 << _RING_BITS, 0
        # Filled, not `np.zeros`: so all memory is taken now, and none with the posts that come.
        self._at_ms = np.full(size, 0, dtype=np.int64)
        self._post = np.full(size, 0, dtype=np.int64)
        self._author = np.full(size, 0, dtype=np.int64)
        # The entry with which the text of this entry began; its author is the first author.
        self._first = np.full(size, 0, dtype=np.uint32)
        # Whether the entry is the text that readers see: not deleted, not replaced by an edit.
        self._is_current = np.full(size, False, dtype=np.bool_)
        self._cluster = np.full(size, NO_CLUSTER, dtype=np.int64)
        self._signatures = np.full((size, BINS), 0, dtype=np.uint8)
        self._posts = HashIndex(_RING_BITS, _REACH, 0)
        self._bands = BucketHeads(BANDS << BUCKET_BITS, 0)
        self._now_ms = 0
        self._newest = 0
        self._clusters = Clusters(self._is_recent)
        # By the first entry of a text, the last entries by which its author repeated the text.
        self._repeated: dict[int, deque[int]] = {}

    def fold(
        self,
        versions: Sequence[PostRecord],
        batch_rows: Sequence[int] = (),
        batch: PostBatch | None = None,
    ) -> list[CopyCounts]:
        """Take records in their order, and count for each the copies that came before it.

        Parameters
        ----------
        versions
            n records, in the order of the stream.
        batch_rows
            (n,) the row of each version's text in `batch`, -1 if it is not there.
        batch
            A batch of posts that other models read too, so that no text is hashed twice.

        Returns
        -------
        n counts; `CopyCounts()` for deletions and for texts that are too short to compare.
        """
        if len(versions) == 1:
            return [self._fold_one(versions[0], batch_rows, batch)]
        counts: list[CopyCounts] = []
        for start in range(0, len(versions), _MAX_BATCH):
            end = start + _MAX_BATCH
            counts += self._fold(versions[start:end], batch_rows[start:end], batch)
        return counts

    def _fold(
        self, versions: Sequence[PostRecord], batch_rows: Sequence[int], batch: PostBatch | None
    ) -> list[CopyCounts]:
        n = len(versions)
        sequence = (np.arange(n) + self._next_entry).astype(np.uint32)
        self._next_entry = (self._next_entry + n) % (1 << 32)
        slots = sequence & _MASK
        has_text = np.array([v.text is not None for v in versions], dtype=np.bool_)
        # These hashes differ between processes; they only ever decide which ids are equal.
        posts = np.array([hash(v.post_id) for v in versions], dtype=np.int64)
        at_ms = np.array([v.at_ms for v in versions], dtype=np.int64)
        self._at_ms[slots], self._is_current[slots] = at_ms, has_text
        self._post[slots], self._cluster[slots] = posts, NO_CLUSTER
        self._author[slots] = [hash(v.author_id) for v in versions]
        self._first[slots] = sequence

        replaced = self._replaced_versions(posts, sequence, at_ms)
        rows, signatures = _comparable([v.text or "" for v in versions], batch_rows, batch)
        rows, similar = self._similar_entries(rows, signatures, sequence, at_ms)
        return self._count_copies(sequence, at_ms, replaced, rows, similar)

    def _fold_one(
        self, version: PostRecord, batch_rows: Sequence[int], batch: PostBatch | None
    ) -> CopyCounts:
        """What `_fold` does, for one record without numpy where that takes longer."""
        entry, at_ms = self._next_entry, version.at_ms
        self._next_entry = (entry + 1) % (1 << 32)
        slot, post, text = entry & _MASK, hash(version.post_id), version.text
        self._at_ms[slot], self._is_current[slot] = at_ms, text is not None
        self._post[slot], self._cluster[slot] = post, NO_CLUSTER
        self._author[slot], self._first[slot] = hash(version.author_id), entry
        replaced = self._posts.insert_one(post, entry)
        if replaced is not None and self._at_ms[replaced & _MASK] <= at_ms - WINDOW_MS:
            replaced = None
        similar: list[int] = []
        if text is not None and is_long_enough(text):
            signatures = _signature_of(text, batch_rows, batch)
            if signatures.comparable[0]:
                similar = self._similar_to_one(signatures, entry, at_ms)
        self._now_ms, self._newest = at_ms, entry
        if replaced is not None:
            self._is_current[replaced & _MASK] = False
        return self._copies_of(entry, similar) if similar else CopyCounts()

    def _replaced_versions(self, posts: Indices, sequence: Sequence32, at_ms: Indices) -> Indices:
        """Return the entry that each version replaces, `_NO_ENTRY` if none in the window: (n,)."""
        rows, entries = self._posts.insert(posts, sequence)
        is_recent = self._at_ms[entries & _MASK] > at_ms[rows] - WINDOW_MS
        replaced = np.full(len(posts), _NO_ENTRY, dtype=np.int64)
        replaced[rows[is_recent]] = entries[is_recent]
        return replaced

    def _similar_entries(
        self, rows: Indices, signatures: SignatureBatch, sequence: Sequence32, at_ms: Indices
    ) -> tuple[Indices, Sequence32]:
        """Return pairs (row, earlier entry in the window) of similar texts, rows ascending.

        `signatures` are those of the texts at `rows`, all comparable.
        """
        own = sequence[rows]
        self._signatures[own & _MASK] = signatures.signatures
        own_by_band = np.repeat(own, BANDS)
        entries = self._bands.push(signatures.buckets.ravel(), own_by_band)
        which = np.repeat(np.arange(len(rows)), BANDS)
        is_near = (own_by_band - entries - np.uint32(1)) < _REACH
        if not is_near.any():
            return _NO_ROWS, _NO_ENTRIES
        which, entries = which[is_near], entries[is_near]
        is_near = self._at_ms[entries & _MASK] > at_ms[rows[which]] - WINDOW_MS
        # One number for each pair, so that `unique` drops pairs that meet in several bands.
        pairs = np.unique(which[is_near] << 32 | entries[is_near].astype(np.int64))
        which, entries = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.uint32)
        similarities = similarity(signatures.signatures[which], self._signatures[entries & _MASK])
        is_similar = similarities >= MIN_SIMILARITY
        return rows[which[is_similar]], entries[is_similar]

    def _similar_to_one(self, signatures: SignatureBatch, entry: int, at_ms: int) -> list[int]:
        """Return the entries that `_similar_entries` returns for one text, ascending."""
        signature = signatures.signatures
        self._signatures[entry & _MASK] = signature[0]
        # Each band has buckets of its own, so no two of them are equal.
        before = self._bands.push_one(signatures.buckets[0], entry)
        near = {other for other in before if (entry - other - 1) % (1 << 32) < _REACH}
        since_ms = at_ms - WINDOW_MS
        near = {other for other in near if self._at_ms.item(other & _MASK) > since_ms}
        if not near:
            return []
        entries = np.array(sorted(near), np.int64)
        similarities = similarity(signature, self._signatures[entries & _MASK])
        found: list[int] = entries[similarities >= MIN_SIMILARITY].tolist()
        return found

    def _count_copies(
        self,
        sequence: Sequence32,
        at_ms: Indices,
        replaced: Indices,
        rows: Indices,
        similar: Sequence32,
    ) -> list[CopyCounts]:
        """Return the counts of n versions.

        Goes in order over the few versions that replace another one or have similar entries.
        """
        counts = [CopyCounts()] * len(sequence)
        for i, entries in _by_row(rows, similar, np.flatnonzero(replaced != _NO_ENTRY)):
            self._now_ms, self._newest = int(at_ms[i]), int(sequence[i])
            if replaced[i] != _NO_ENTRY:
                self._is_current[replaced[i] & _MASK] = False
            if entries:
                counts[i] = self._copies_of(int(sequence[i]), entries)
        return counts

    def _copies_of(self, entry: int, similar: Sequence[int]) -> CopyCounts:
        """Count copies and authors of one entry, and add it to a cluster.

        Candidates are the similar entries that were found and the members of their clusters.  Of
        the candidates that are similar to this entry, those near the consensus of all are copies.
        """
        slot = entry & _MASK
        clusters = sorted({int(self._cluster[other & _MASK]) for other in similar})
        members = {c: self._clusters.members(c) for c in clusters if c in self._clusters}
        candidates = self._recent([*similar, *(m for entries in members.values() for m in entries)])
        signatures = self._signatures[np.append(candidates & _MASK, slot)]
        to_entry = similarity(signatures, signatures[-1:])
        is_similar = to_entry >= MIN_SIMILARITY
        confirmed = candidates[is_similar[:-1]]
        self._assign_cluster(entry, members, candidates, confirmed)
        slots = confirmed[-MAX_COMPARED:] & _MASK
        signatures = signatures[is_similar][-1 - len(slots) :]
        text = consensus(signatures)
        to_consensus = similarity(signatures, text)
        if to_consensus[-1] < MIN_NEW_COPY_SIMILARITY:
            return CopyCounts()
        # Not by the consensus, to which of two posts each is near.
        to_entry = to_entry[is_similar][-1 - len(slots) : -1]
        own = self._own_before(entry, slots[to_entry >= MIN_NEW_COPY_SIMILARITY])
        slots = self._others_in(slots[to_consensus[:-1] >= MIN_COPY_SIMILARITY], slot)
        author = self._author.item(slot)
        if own is None:
            return CopyCounts(len(slots), len({*self._author[slots].tolist(), author}))
        # The newest copies may hide own posts from sight, so that these are counted by themselves.
        own = self._others_in(own & _MASK, slot)
        is_near = similarity(self._signatures[own], text) >= MIN_COPY_SIMILARITY
        count, others = int(is_near.sum()), slots[self._author[slots] != author]
        authors = {*self._author[others].tolist(), author}
        return CopyCounts(count + len(others), len(authors), count)

    def _others_in(self, slots: Indices, slot: int) -> Indices:
        """Return those of the slots that hold what readers see of another post than one slot."""
        others: Indices = slots[self._is_current[slots] & (self._post[slots] != self._post[slot])]
        return others

    def _own_before(self, entry: int, near: Indices) -> Indices | None:
        """Give an entry the first entry of its text, and find what its author posted before.

        The first entry is the earliest of those with which the texts that are near began.  `near`
        are the slots of these texts, in the window, also of those that were replaced or deleted.

        Returns
        -------
        The entries in the window with this text by its author; None unless this author is the first
        author.
        """
        slot, first = entry & _MASK, entry
        if len(near):
            firsts = self._first[near].astype(np.int64)
            first = firsts.item(np.argmax((entry - firsts) % (1 << 32)))
        self._first[slot] = first
        if not self._is_since(first, FIRST_MS) or (
            self._author.item(first & _MASK) != self._author.item(slot)
        ):
            return None
        if first not in self._repeated:
            while self._repeated and not self._is_since(
                oldest := next(iter(self._repeated)), FIRST_MS
            ):
                del self._repeated[oldest]
            self._repeated[first] = deque(maxlen=MAX_COMPARED)
        own = self._recent([first, *self._repeated[first]])
        self._repeated[first].append(entry)
        return own

    def _is_since(self, entry: int, span_ms: int) -> bool:
        """Whether an entry is within reach, and less than a time before the present record."""
        is_near = (self._newest - entry) % (1 << 32) < _REACH
        return is_near and self._at_ms.item(entry & _MASK) > self._now_ms - span_ms

    def _assign_cluster(
        self, entry: int, members: Mapping[int, Sequence[int]], recent: Indices, similar: Indices
    ) -> None:
        """Add an entry to the cluster of which the largest fraction is similar to it.

        Only recent members count, and at least half of them have to be similar.  If there is no
        such cluster, the entry makes a new one with the entries similar to it.
        """
        best, best_fraction = NO_CLUSTER, 0.5
        recent_entries, similar_entries = set(recent.tolist()), set(similar.tolist())
        for cluster, entries in members.items():
            present = recent_entries.intersection(entries)
            fraction = len(present & similar_entries) / max(len(present), 1)
            if fraction >= best_fraction:
                best, best_fraction = cluster, fraction
        if best != NO_CLUSTER:
            self._clusters.add(best, entry)
        elif len(similar):
            best = self._clusters.create([*similar.tolist(), entry])
            for other in similar.tolist():
                if int(self._cluster[other & _MASK]) not in self._clusters:
                    self._cluster[other & _MASK] = best
        self._cluster[entry & _MASK] = best

    def _recent(self, entries: Sequence[int]) -> Indices:
        """Return the entries that are within reach and window, each once, oldest first."""
        ages = np.unique((self._newest - np.array(entries, dtype=np.int64)) % (1 << 32))[::-1]
        reachable = (self._newest - ages[ages < _REACH]) % (1 << 32)
        recent: Indices = reachable[self._at_ms[reachable & _MASK] > self._now_ms - WINDOW_MS]
        return recent

    def _is_recent(self, entry: int) -> bool:
        return self._is_since(entry, WINDOW_MS)


def _signature_of(text: str, batch_rows: Sequence[int], batch: PostBatch | None) -> SignatureBatch:
    """The signature of one text, that of the batch where it is there."""
    row = batch_rows[0] if batch is not None else -1
    if batch is None or row < 0:
        return minhash(five_grams([text]))
    found = batch.signatures
    return found if len(batch) == 1 else found.take(np.array([row]))


def _comparable(
    texts: Sequence[str], batch_rows: Sequence[int], batch: PostBatch | None
) -> tuple[Indices, SignatureBatch]:
    """Return which texts can be compared, ascending, and their signatures."""
    rows = np.array([i for i, text in enumerate(texts) if is_long_enough(text)], dtype=np.int64)
    if batch is None:
        signatures = minhash(five_grams([texts[i] for i in rows.tolist()]))
    else:
        rows_there = np.array(batch_rows, dtype=np.int64)[rows]
        is_there = rows_there >= 0
        if is_there.all():
            # Most often; then no signature is copied twice.
            is_comparable = batch.signatures.comparable[rows_there]
            return rows[is_comparable], batch.signatures.take(rows_there[is_comparable])
        signatures = batch.signatures.take(rows_there[is_there])
        if len(signatures.comparable) < len(rows):
            missing = minhash(five_grams([texts[i] for i in rows[~is_there].tolist()]))
            order = np.concatenate([np.flatnonzero(is_there), np.flatnonzero(~is_there)])
            signatures = signatures.append(missing).take(np.argsort(order))
    return rows[signatures.comparable], signatures.take(signatures.comparable)


def _by_row(
    rows: Indices, similar: Sequence32, more_rows: Indices
) -> Iterator[tuple[int, list[int]]]:
    """Yield the rows with similar entries and `more_rows`, ascending, each with its entries."""
    entries_of: dict[int, list[int]] = {row: [] for row in more_rows.tolist()}
    for row, entry in zip(rows.tolist(), similar.tolist(), strict=True):
        entries_of.setdefault(row, []).append(entry)
    for row in sorted(entries_of):
        yield row, entries_of[row]
