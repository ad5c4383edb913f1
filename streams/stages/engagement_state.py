"""What the engagement stage knows of its posts, one partition at a time.

Counters are a fold over the partition's events in the order of their offsets.  Each
post's record carries `through`, the last offset counted in, so that an event that is
read again after a crash is skipped: exactly-once counts without transactions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct, field

from feedmill.events.engagement import Engagement
from feedmill.features.counters import Counters, update
from feedmill.streams.kafka.batches import Record

DEDUPLICATED_MS = 600_000
NO_OFFSET = -1


class PostState(Struct, gc=False):
    """One post, as it stands in `counters`; `post_offset` is -1 before the post was read."""

    post_id: str
    post_offset: int = NO_OFFSET
    prior: float = 0.0
    through: int = NO_OFFSET
    at_ms: int = 0
    counters: Counters = field(default_factory=Counters)


encode_state = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(PostState).decode


class RecentEvents:
    """Event ids of the last ten minutes of record time.

    An event repeats if the same id of the same post stands in the ten minutes before it;
    that follows from those ten minutes alone, so reading them again restores it exactly.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}
        self._order: deque[tuple[int, tuple[str, str]]] = deque()

    def __len__(self) -> int:
        return len(self._last)

    def repeats(self, event: Engagement, at_ms: int) -> bool:
        """Note an event by its record's timestamp; whether it repeats an earlier one."""
        if event.event_id is None:
            return False
        self._drop_before(at_ms - DEDUPLICATED_MS)
        key = (event.post_id, event.event_id)
        before = self._last.get(key)
        self._last[key] = at_ms
        self._order.append((at_ms, key))
        return before is not None and at_ms - before <= DEDUPLICATED_MS

    def _drop_before(self, cutoff_ms: int) -> None:
        while self._order and self._order[0][0] < cutoff_ms:
            at_ms, key = self._order.popleft()
            if self._last.get(key) == at_ms:
                del self._last[key]


class PartitionState:
    """The posts of one partition."""

    def __init__(self) -> None:
        self.posts: dict[str, PostState] = {}
        self.recent = RecentEvents()

    def restore(self, records: Iterable[Record]) -> set[str]:
        """Take `counters` over; returns posts whose last record is not the furthest one.

        A paused former owner may have written after its successor: the record with the
        highest `through` holds, and is to be written again.
        """
        outdone = set()
        for record in records:
            key = (record.key or b"").decode()
            if not record.value:
                self.posts.pop(key, None)
                outdone.discard(key)
                continue
            state = decode_state(record.value)
            held = self.posts.get(state.post_id)
            if held is not None and _progress(held) > _progress(state):
                outdone.add(state.post_id)
            else:
                self.posts[state.post_id] = state
                outdone.discard(state.post_id)
        return outdone

    def post(self, post_id: str) -> PostState:
        """The state of a post, a new one if it is not known."""
        state = self.posts.get(post_id)
        if state is None:
            state = self.posts[post_id] = PostState(post_id)
        return state

    def count(self, event: Engagement, record: Record) -> PostState | None:
        """Count an event in; None if it was counted before or repeats another."""
        repeats = self.recent.repeats(event, record.timestamp)
        state = self.post(event.post_id)
        if repeats or record.offset <= state.through:
            return None
        update(state.counters, event.kind, min(event.at_ms, record.timestamp), event.dwell_ms)
        state.through = record.offset
        state.at_ms = record.timestamp
        return state


def _progress(state: PostState) -> tuple[int, int]:
    return state.through, state.post_offset
