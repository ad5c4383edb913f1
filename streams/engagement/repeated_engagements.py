"""Which engagements of a partition repeat others, and which accounts read a community before.

What repeats follows from the log before an event alone, whether that was counted or not: it was in
the present generation of keys or in the former one.  So memory and the log that restores it are
bounded, and reading two generations again restores it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from zlib import crc32

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.features.counters import LONG_DWELL_MS
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.tables.extendible_hash import ExtendibleHash

# "unseen": of a post of which the user had no impression.
Repetition = Literal["", "repeated event", "repeated user", "unseen"]
COMPLAINTS: tuple[EngagementKind, ...] = ("hide", "report")
# Where it matters whether the account read the community before.
ACCOUNTS_COUNT = ("impression", *COMPLAINTS)

# How long an event id is known at least; at most it is known for twice as long.
DEDUPLICATED_MS = 600_000
KEY_BITS = 63
_KEY = (1 << KEY_BITS) - 1
_NUMBER_BITS = 31
_LAST_BUCKET = 3
_NUMBER = (1 << _NUMBER_BITS) - 1


class RepeatedEngagements:
    """Knows event ids by record time, and users by offset.

    A user repeats who did the same with the post on the same day (UTC, of record time).  A hide or
    a report counts only of a user who had an impression of the post on that day or the day before;
    one that did not count is repeated, too.  Users are known of the last `user_window` offsets at
    least, and of twice as many at most.
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

    def add(
        self,
        events: Sequence[tuple[Record, Engagement]],
        communities: Sequence[Sequence[int]] = (),
    ) -> tuple[list[Repetition], list[bool]]:
        """Add events in the order of their offsets; return of each whether it repeats another.

        And whether a regular of the post's communities made it, where that matters; `communities`
        are those of each event's post, none where they are not known.
        """
        found, regular = [], [False] * len(events)
        for i, (record, event) in enumerate(events):
            self._users.turn_to(record.offset // self._window)
            found.append(self._add_user(record, event))
            if event.kind in ACCOUNTS_COUNT and communities and communities[i]:
                regular[i] = self._add_account(communities[i], record, event)
        named = [i for i, (_, event) in enumerate(events) if event.event_id is not None]
        ids = self._ids.repeats(
            [_id_key(events[i][1]) for i in named],
            [events[i][0].timestamp // DEDUPLICATED_MS for i in named],
        )
        for i, repeats in zip(named, ids, strict=True):
            if repeats:
                found[i] = "repeated event"
        return found, regular

    def _add_account(self, communities: Sequence[int], record: Record, event: Engagement) -> bool:
        """Add an impression or complaint; return whether a regular of the post made it.

        A regular had an impression of another post before, on that day or the day before, whose
        first community is one of this post's: its author cannot make all readers strangers by a
        community of its own.  Posts are told apart by four buckets.  Who made such a complaint in
        all of these communities in that time is no regular for the next complaint.  Every event is
        added, also one that repeats another: so the events of two generations restore all that is
        known.
        """
        users, day, user = self._users, record.timestamp // DAY_MS, event.user_id
        own = crc32(event.post_id.encode()) & _LAST_BUCKET  # in every process the same

        def has_read(community: int) -> bool:
            return any(
                users.knows_sibling(_key_of((community, user, of)) & ~_LAST_BUCKET | own)
                for of in (day, day - 1)
            )

        if event.kind == "impression":
            is_regular = any(map(has_read, communities))
            users.add(_key_of((communities[0], user, day)) & ~_LAST_BUCKET | own)
            return is_regular
        complaints = [(community, user, event.kind) for community in filter(has_read, communities)]
        is_regular = not all(users.knows_of(complaint, day) for complaint in complaints)
        for complaint in complaints or [(communities[0], user, event.kind)]:
            users.add(_key_of((*complaint, day)))
        return is_regular

    def _add_user(self, record: Record, event: Engagement) -> Repetition:
        users, kind, day = self._users, event.kind, record.timestamp // DAY_MS
        # A client may tell of the first seconds, and again of more.
        is_long = kind == "dwell" and (event.dwell_ms or 0.0) >= LONG_DWELL_MS
        done = "long dwell" if is_long else kind
        known = users.add(_key_of((event.post_id, done, event.user_id, day)))
        if kind in COMPLAINTS:
            seen = (event.post_id, "impression", event.user_id)
            if not users.knows_of(seen, day):
                return "unseen"
        return "repeated user" if known else ""


def _id_key(event: Engagement) -> int:
    """Return the key of an event's id, of a user and a post: nobody takes another's."""
    return _key_of((event.post_id, event.user_id, event.event_id))


def _key_of(what: tuple[Any, ...]) -> int:
    return hash(what) & _KEY


class RepeatFilter:
    """Keys of two generations, 16 to 32 bytes each.

    Keys are well spread whole numbers below ``2 ** KEY_BITS``, as of `hash(str)`: of a million of
    them a new one counts as known once in 10**13 times.
    """

    def __init__(self) -> None:
        self._generation = -1
        self._present, self._former = ExtendibleHash(), ExtendibleHash()

    def repeats(self, keys: Sequence[int], generations: Sequence[int]) -> list[bool]:
        """Add keys, each of its generation; return of each whether it was known.

        A generation just below the last counts as the last.  A lower generation is that of a clock
        that was set back, and a generation like the others: one stamp in the future latches
        nothing.
        """
        found: list[bool] = []
        for key, generation in zip(keys, generations, strict=True):
            self.turn_to(generation)
            found.append(self.add(key))
        return found

    def turn_to(self, generation: int) -> None:
        """Go on to the generation of the keys that follow."""
        if self._generation - 1 <= generation <= self._generation:
            return
        is_far_ahead = generation > self._generation + 1
        self._former = ExtendibleHash() if is_far_ahead else self._present
        self._present = ExtendibleHash()
        self._generation = generation

    def add(self, key: int) -> bool:
        """Add a key; return whether it was known."""
        hashed, number = key >> _NUMBER_BITS, key & _NUMBER
        if number in self._present.find(hashed):
            return True
        self._present.insert(hashed, number)
        return number in self._former.find(hashed)

    def knows_sibling(self, key: int) -> bool:
        """Return whether a key was added that differs from this one in its bucket alone."""
        hashed, number = key >> _NUMBER_BITS, key & _NUMBER
        for generation in (self._present, self._former):
            for known in generation.find(hashed):
                if known != number and known | _LAST_BUCKET == number | _LAST_BUCKET:
                    return True
        return False

    def knows_of(self, what: tuple[Any, ...], day: int) -> bool:
        """Return whether the key of this and a day, or the day before, was added."""
        for of_day in (day, day - 1):
            key = _key_of((*what, of_day))
            hashed, number = key >> _NUMBER_BITS, key & _NUMBER
            if number in self._present.find(hashed) or number in self._former.find(hashed):
                return True
        return False
