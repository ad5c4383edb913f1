"""Which engagements of a partition repeat others: an event id within ten minutes, a user in a day.

What repeats follows from the log before an event alone, whether that was counted or not: it was in
the present generation of keys or in the former one.  So memory and the log that restores it are
bounded, and reading two generations again restores it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from feedmill.events.engagement import Engagement
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.tables.extendible_hash import ExtendibleHash

Repetition = Literal["", "repeated event", "repeated user"]

# An event id is known for so long at least, and for twice as long at most.
DEDUPLICATED_MS = 600_000
KEY_BITS = 63
_KEY = (1 << KEY_BITS) - 1
_NUMBER_BITS = 31
_NUMBER = (1 << _NUMBER_BITS) - 1


class RepeatedEngagements:
    """Knows event ids by record time, and users by offset.

    A user repeats who did the same with the post on the same day (UTC, of record time).  Users are
    known of the last `user_window` offsets at least, and of twice as many at most.
    """

    def __init__(self, user_window: int) -> None:
        self._window = user_window
        self._ids, self._users = RepeatFilter(), RepeatFilter()

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


class RepeatFilter:
    """Keys of two generations, 16 to 32 bytes each.

    Keys are well spread whole numbers below ``2 ** KEY_BITS``, as of `hash(str)`: of a million of
    them a new one counts as known once in 10**13 times.
    """

    def __init__(self) -> None:
        self._generation = -1
        self._present, self._former = ExtendibleHash(), ExtendibleHash()

    def repeats(self, keys: Sequence[int], generations: Sequence[int]) -> list[bool]:
        """Note keys, each of its generation; say of each whether it was known.

        One just below the last counts as the last.  A lower one is that of a clock that was set
        back, and a generation like the others: one stamp in the future latches nothing.
        """
        found: list[bool] = []
        for generation, group in groupby(generations):
            self._turn_to(generation)
            first = len(found)
            some = keys[first : first + len(list(group))]
            found += self._note(some)
        return found

    def _turn_to(self, generation: int) -> None:
        if self._generation - 1 <= generation <= self._generation:
            return
        is_far_ahead = generation > self._generation + 1
        self._former = ExtendibleHash() if is_far_ahead else self._present
        self._present = ExtendibleHash()
        self._generation = generation

    def _note(self, keys: Sequence[int]) -> list[bool]:
        found = []
        for key in keys:
            hashed, number = key >> _NUMBER_BITS, key & _NUMBER
            is_present = number in self._present.find(hashed)
            found.append(is_present or number in self._former.find(hashed))
            if not is_present:
                self._present.insert(hashed, number)
        return found
