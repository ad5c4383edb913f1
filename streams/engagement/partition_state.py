"""What the engagement step knows of the posts of one partition, packed.

A post's state is unpacked when a record touches it, changed as an object, and packed again at the
end of the cycle: `changed` holds what the present cycle touched, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

from msgspec import UNSET

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Post
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.features.counters import AccountKind, update, weight_of
from feedmill.features.minhash import differ_much
from feedmill.streams.engagement.burst_damping import BurstDamping
from feedmill.streams.engagement.packed_states import (
    NO_OFFSET,
    PackedStates,
    PostState,
    decode_state,
)
from feedmill.streams.engagement.repeated_engagements import (
    ACCOUNTS_COUNT,
    RepeatedEngagements,
    Repetition,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import Record
from feedmill.tables.id_table import IdTable

# How many posts whose record has not come yet a partition counts engagements of.
MOST_UNKNOWN = 10_000
# Why an engagement does not count, or counts apart; "": it counts.
Uncounted = Literal[Repetition, "damped", "stranger"]
_STRANGER: dict[str, AccountKind] = {"hide": "stranger hide", "report": "stranger report"}
_TIDY_EVERY = 1_000
_NO_ROW = -1
_USUAL = Environment()


class PostSource(NamedTuple):
    """Hashes of a post's first community and of its author, above 0, and the sketch of its text.

    `further` are hashes of its other communities.
    """

    community: int
    author: int
    sketch: int = 0
    further: tuple[int, ...] = ()

    @classmethod
    def of(cls, post: Post, sketch: int) -> PostSource:
        """Return the source of a post."""
        community, *further = map(_hash32, post.communities or ("",))
        return cls(community, _hash32(post.author_id), sketch, tuple(further))


NO_SOURCE = PostSource(0, 0)


# A hash that is the same in every process, because `counters` keeps it.
@lru_cache(maxsize=10_000)
def _hash32(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest()) or 1


class PartitionState:
    """The posts of one partition.

    Attributes
    ----------
    changed
        The states that were touched since the last `pack`, in the order of the first touch.
    retold
        The posts of `changed` that got a version or another prior, not engagements alone.
    furthest
        The highest `through` that was restored: the last engagement ever counted.
    damped
        How many events of each kind did not count in a burst, of the posts that were touched.
    """

    def __init__(
        self, environment: Environment = _USUAL, *, most_unknown: int = MOST_UNKNOWN
    ) -> None:
        self.changed: dict[str, PostState] = {}
        self.retold: set[str] = set()
        self.furthest = NO_OFFSET
        self.damped: dict[str, dict[EngagementKind, int]] = {}
        self._repeated = RepeatedEngagements(environment.user_window)
        self._bursts = BurstDamping(environment.burst_reactions)
        self._examination = environment.examination
        self._most_unknown = most_unknown
        self._unknown: dict[str, None] = {}  # in the order in which they came
        self._forgotten: list[str] = []
        self._ids = IdTable()
        self._states = PackedStates()
        self._removed = 0

    def __len__(self) -> int:
        return len(self._ids)

    def restore(self, records: Iterable[Record]) -> int:
        """Restore records of `counters`; return how many of them cannot be read.

        Of two records of a post the one that counted further holds.
        """
        unreadable = 0
        for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            if not record.value:
                self.remove(key)
                continue
            try:
                state = decode_state(record.value)
            except DECODE_ERRORS:
                unreadable += 1
                continue
            row = self._row_of(state.post_id)
            if row == _NO_ROW or self._states.progress(row) <= (state.through, state.post_offset):
                self._pack_one(state)
                self.furthest = max(self.furthest, state.through)
        self._forget_unknown()
        return unreadable

    def has(self, post_id: str) -> bool:
        """Return whether there are counts of the post, or its record came."""
        state = self.find(post_id)
        return state is not None and (state.post_offset != NO_OFFSET or any(state.counters.counts))

    def find(self, post_id: str) -> PostState | None:
        """Return the state of a post, None if it has none; not to be changed."""
        state = self.changed.get(post_id)
        if state is not None:
            return state
        row = self._row_of(post_id)
        return None if row < 0 else self._states.load(row, post_id)

    def before(self, post_id: str) -> PostState | None:
        """Return the state of a post in `changed` as of the last `pack`; None: it was retold."""
        row = _NO_ROW if post_id in self.retold else self._row_of(post_id)
        return None if row < 0 else self._states.load(row, post_id)

    def put_post(
        self,
        post_id: str,
        post_offset: int,
        prior: float,
        at_ms: int,
        source: PostSource = NO_SOURCE,
    ) -> None:
        """Store a new or changed post, unless a later version of it is there."""
        state = self.find(post_id)
        if state is None:
            state = PostState(post_id)
        elif post_offset <= state.post_offset:
            return
        elif differ_much(state.sketch, source.sketch):
            state.edits, state.edited_ms = state.edits + 1, at_ms
        self.changed[post_id] = state
        self.retold.add(post_id)
        state.post_offset, state.prior = post_offset, prior
        if not state.community:
            state.community, state.author = source.community, source.author
            state.further = source.further or UNSET
        state.sketch = source.sketch or state.sketch
        state.at_ms = max(state.at_ms, at_ms)

    def put_prior(self, post_id: str, post_offset: int, prior: float) -> None:
        """Give the version of a post at an offset another prior; not if a later one is there."""
        state = self.find(post_id)
        if state is not None and state.post_offset == post_offset:
            self.changed[post_id] = state
            self.retold.add(post_id)
            state.prior = prior

    def log_needed(self, at_ms: int) -> int:
        """Return from when on the log says what counts after a time, but for users; Unix ms."""
        return self._repeated.ids_since(self._bursts.since(at_ms))

    def users_needed(self, offset: int) -> int:
        """Return from which offset on the log says which users repeat from an offset on."""
        return self._repeated.users_since(offset)

    def restore_events(self, events: Sequence[tuple[Record, Engagement]]) -> None:
        """Learn what came before a restart: `counters` has its counts already.

        Later events may repeat these, or come in the same burst.
        """
        found, _ = self._repeated.add(events, self._communities(events))
        for (record, event), repetition in zip(events, found, strict=True):
            if not repetition:
                self._bursts.weight(event.post_id, event.kind, record.timestamp)

    def count(self, events: Sequence[tuple[Record, Engagement]]) -> list[Uncounted]:
        """Count events in the order of their offsets; return of each why it does not count whole.

        An event that was counted before a restart repeats itself.
        """
        found, regular = self._repeated.add(events, self._communities(events))
        uncounted: list[Uncounted] = [*found]
        burst_weight, examination = self._bursts.weight, self._examination
        for i, (record, event) in enumerate(events):
            if uncounted[i]:
                continue
            post_id, kind, at_ms = event.post_id, event.kind, record.timestamp
            weight = burst_weight(post_id, kind, at_ms)
            state = self.changed[post_id] = self.find(post_id) or PostState(post_id)
            counted: EngagementKind | AccountKind = kind
            if record.offset <= state.through:
                # Its transaction was open at the restore: should Kafka abort it, what is written
                # now has its counts.
                uncounted[i] = "repeated event"
                continue
            state.through, state.at_ms = record.offset, at_ms
            if state.edits and at_ms >= state.edited_ms:
                state.settle_edits()
            if weight < 1.0:
                uncounted[i] = "damped"
                damped = self.damped.setdefault(post_id, {})
                damped[kind] = damped.get(kind, 0) + 1
            if examination:
                weight *= weight_of(kind, event.position, examination)
            if kind in _STRANGER and not regular[i]:
                counted = _STRANGER[kind]
                uncounted[i] = uncounted[i] or "stranger"
            event_ms = event.at_ms if event.at_ms < at_ms else at_ms
            update(state.counters, counted, event_ms, event.dwell_ms, weight=weight)
            if regular[i] and kind == "impression":
                update(state.counters, "regular impression", event_ms, weight=weight)
        return uncounted

    def _communities(self, events: Sequence[tuple[Record, Engagement]]) -> list[Sequence[int]]:
        """Return the communities of each event's post, where they matter and are known."""
        found: list[Sequence[int]] = []
        for _, event in events:
            state = self.changed.get(event.post_id)
            if event.kind not in ACCOUNTS_COUNT:
                found.append(())
            elif state is not None:
                found.append(state.communities)
            else:
                found.append(self._states.communities(self._row_of(event.post_id)))
        return found

    def bury(self, post_id: str, at_ms: int) -> None:
        """Forget a post that was deleted, but for where it came from: its readers know no more."""
        state = self.find(post_id)
        self.remove(post_id)
        if state is not None and state.community:
            buried = PostState(post_id, at_ms=at_ms, further=state.further)
            buried.community, buried.author = state.community, state.author
            self.changed[post_id] = buried

    def remove(self, post_id: str) -> None:
        """Forget a post."""
        self.changed.pop(post_id, None)
        self._unknown.pop(post_id, None)
        row = self._row_of(post_id)
        if row >= 0:
            self._ids.forget(row)
            self._ids.recycle(row)
            self._states.free(row)
            self._removed += 1
            if self._removed % _TIDY_EVERY == 0:
                self._ids.tidy()

    def pack(self) -> list[str]:
        """Pack what was touched; return posts that were forgotten to make room.

        These are the oldest of the posts whose record never came, beyond `most_unknown`.
        """
        if not (self.changed or self._forgotten):
            return []
        for state in self.changed.values():
            self._pack_one(state)
        self._forget_unknown()
        forgotten, self._forgotten = self._forgotten, []
        self.changed, self.damped = {}, {}
        self.retold.clear()
        return forgotten

    def expire(self, cutoff_ms: int, first: int, rows: int) -> int | None:
        """Forget posts of a slice of rows that nobody has written or touched since a time.

        Returns where the next slice begins, None after the last slice.
        """
        end = min(first + rows, self._ids.bound)
        for row in self._states.older_than(cutoff_ms, first, end):
            self.remove(self._ids[row])
        return end if end < self._ids.bound else None

    def _forget_unknown(self) -> None:
        while len(self._unknown) > self._most_unknown:
            post_id = next(iter(self._unknown))
            self.remove(post_id)
            self._forgotten.append(post_id)

    def _row_of(self, post_id: str) -> int:
        row = self._ids.find(post_id)
        return _NO_ROW if row is None else row

    def _pack_one(self, state: PostState) -> None:
        count = len(self._ids)
        self._states.store(self._ids.add(state.post_id), state)
        if state.post_offset != NO_OFFSET:
            self._unknown.pop(state.post_id, None)
        elif len(self._ids) > count and not state.community:
            self._unknown[state.post_id] = None
