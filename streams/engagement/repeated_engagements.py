"""Which engagements of a partition repeat others: an event id within ten minutes, a user in a day.

What repeats follows from the log before an event alone, whether that was counted or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from feedmill.events.engagement import Engagement
from feedmill.streams.engagement.repeat_filter import KEY_BITS, RepeatFilter
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.topic_table import DAY_MS

Repetition = Literal["", "repeated event", "repeated user"]

# An event id is known for so long at least, and for twice as long at most.
DEDUPLICATED_MS = 600_000
_KEY = (1 << KEY_BITS) - 1


class RepeatedEngagements:
    """Knows event ids by record time, and users by offset.

    A user repeats who did the same with the post on the same day (UTC, of record time).  Users are
    known of the last `user_window` offsets at least, and of twice as many at most.
    """

    def __init__(self, user_window: int) -> None:
        self._window = user_window
        self._ids, self._users = RepeatFilter(), RepeatFilter()

    @property
    def used_bytes(self) -> int:
        """Bytes of all that is known."""
        return self._ids.used_bytes + self._users.used_bytes

    @staticmethod
    def ids_since(at_ms: int) -> int:
        """Return from when on the log says which event ids are known at a time; Unix ms."""
        return (at_ms // DEDUPLICATED_MS - 1) * DEDUPLICATED_MS

    def users_since(self, offset: int) -> int:
        """Return from which offset on the log says which users are known at an offset."""
        return max(0, offset // self._window - 1) * self._window

    def note(self, events: Sequence[tuple[Record, Engagement]]) -> list[Repetition]:
        """Note events in the order of their offsets; say of each whether it repeats another."""
        users = self._users.repeats(
            [
                hash((event.post_id, event.kind, event.user_id, record.timestamp // DAY_MS)) & _KEY
                for record, event in events
            ],
            [record.offset // self._window for record, _ in events],
        )
        found: list[Repetition] = ["repeated user" if repeats else "" for repeats in users]
        named = [i for i, (_, event) in enumerate(events) if event.event_id is not None]
        ids = self._ids.repeats(
            [hash((events[i][1].post_id, events[i][1].event_id)) & _KEY for i in named],
            [events[i][0].timestamp // DEDUPLICATED_MS for i in named],
        )
        for i, repeats in zip(named, ids, strict=True):
            if repeats:
                found[i] = "repeated event"
        return found
