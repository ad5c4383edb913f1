"""Rejected records on their way to `dead-letters`: so many a second have a letter of their own.

    take ─► a letter, while the rate allows it ─────────────────────────────► the transaction
      └───► offsets ─► seal: of a finished cycle ─► letters: of a transaction ─────┘

Others share a range letter for each partition and transaction, so a flood of bad records costs next
to nothing, takes no room from what posts lead to, and loses no record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.dead_letters import MAX_REASON, TOPIC, dead_letter
from feedmill.streams.kafka.range_letters import (
    MAX_REASONS,
    OffsetRange,
    RangeReason,
    encode_range_letter,
    split_ranges,
)
from feedmill.streams.kafka.transaction import Outgoing
from feedmill.streams.kafka.validation import RejectedRecord

LETTERS_PER_S = 1_000
LETTER_BYTES_PER_S = 8 * 1024 * 1024
# So many ranges wait for a commit at most: beyond, the loop must read no more.
MOST_RANGES = 200_000


class _Place(NamedTuple):
    """Whose letter it is, and of which partition."""

    owner: int
    stage: str
    source: TopicPartition


class _Rejected(NamedTuple):
    place: _Place
    offset: int
    reason: str
    at_ms: int


@dataclass
class _Shared:
    """What shares the next range letter of a place."""

    at_ms: int = 0
    ranges: list[OffsetRange] = field(default_factory=list)
    reasons: dict[str, RangeReason] = field(default_factory=dict)

    def add(self, one: _Rejected) -> None:
        ranges, offset = self.ranges, one.offset
        if ranges and ranges[-1].last + 1 == offset:
            ranges[-1] = OffsetRange(ranges[-1].first, offset)
        else:
            ranges.append(OffsetRange(offset, offset))
        if len(self.reasons) < MAX_REASONS and one.reason not in self.reasons:
            self.reasons[one.reason] = RangeReason(offset, one.reason)
        self.at_ms = one.at_ms


class Rejections:
    """Takes rejected records on the loop's thread; `seal` and all after it under the writer's lock.

    Parameters
    ----------
    most_bytes
        Of letters that are not committed; beyond, the records that follow share range letters.

    Attributes
    ----------
    waiting_bytes
        What letters take that are not committed.
    shared_count
        How many records went into range letters.
    """

    def __init__(self, most_bytes: int, now: Callable[[], float] = time.monotonic) -> None:
        self.waiting_bytes = self.shared_count = 0
        self._most_bytes = most_bytes
        self._now = now
        self._until = 0.0
        self._letters_left = self._bytes_left = 0
        self._gathered: list[_Rejected] = []
        self._sealed: dict[_Place, _Shared] = {}

    @property
    def is_full(self) -> bool:
        """Whether the loop must wait: too many ranges are not committed yet."""
        return sum(len(one.ranges) for one in self._sealed.values()) > MOST_RANGES

    @property
    def is_sharing(self) -> bool:
        """Whether something was taken since `seal` that shares a letter."""
        return bool(self._gathered)

    def take(
        self, one: RejectedRecord, stage: str, at_ms: int, owner: int, *, is_whole: bool
    ) -> Outgoing | None:
        """Return the dead letter of a record; None: it shares one.

        `is_whole` says whether key and value are there: else it shares one in any case.
        """
        if is_whole and self._allows():
            letter = dead_letter(one, stage, at_ms)
            made = Outgoing(TOPIC, 0, letter.key, letter.value, owner, letter.headers)
            self._letters_left -= 1
            self._bytes_left -= outgoing_bytes([made])
            self.waiting_bytes += outgoing_bytes([made])
            return made
        place = _Place(owner, stage, one.source)
        reason = one.reason[:MAX_REASON]
        self._gathered.append(_Rejected(place, one.record.offset, reason, at_ms))
        return None

    def seal(self) -> bool:
        """End a cycle: what was taken is committed with it; return `is_sharing`."""
        gathered, self._gathered = self._gathered, []
        for one in gathered:
            self._sealed.setdefault(one.place, _Shared()).add(one)
        self.shared_count += len(gathered)
        return bool(gathered)

    def letters(self) -> list[Outgoing]:
        """Return the range letters of what was sealed; they are for the next transaction."""
        sealed, self._sealed = self._sealed, {}
        made = []
        for place, shared in sealed.items():
            ranges, reasons = _joined(shared.ranges), (*shared.reasons.values(),)
            for one in split_ranges(place.source, ranges, reasons):
                letter = encode_range_letter(one, place.stage, shared.at_ms)
                made.append(Outgoing(TOPIC, 0, None, letter.value, place.owner, letter.headers))
        self.waiting_bytes += outgoing_bytes(made)
        return made

    def keep(self, owners: Collection[int], left: Iterable[Outgoing]) -> None:
        """Forget what is not of these owners; `left` is all that is not committed."""
        self._gathered = [one for one in self._gathered if one.place.owner in owners]
        self._sealed = {at: one for at, one in self._sealed.items() if at.owner in owners}
        self.count_waiting(left)

    def count_waiting(self, left: Iterable[Outgoing]) -> None:
        """Count anew what letters take, among all that is not committed."""
        if self.waiting_bytes:
            self.waiting_bytes = outgoing_bytes([one for one in left if one.topic == TOPIC])

    def _allows(self) -> bool:
        now = self._now()
        if now >= self._until:
            self._until = now + 1.0
            self._letters_left, self._bytes_left = LETTERS_PER_S, LETTER_BYTES_PER_S
        is_within_rate = self._letters_left > 0 and self._bytes_left > 0
        return is_within_rate and self.waiting_bytes < self._most_bytes


def outgoing_bytes(records: Collection[Outgoing]) -> int:
    """Return what records take that are not committed."""
    texts = sum([len(one.key or b"") + len(one.value or b"") for one in records])
    return texts + 64 * len(records)


def _joined(ranges: list[OffsetRange]) -> list[OffsetRange]:
    """Ranges in their order, without gaps between neighbours; nothing stands in two of them."""
    joined: list[OffsetRange] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1].last + 1:
            joined[-1] = OffsetRange(joined[-1].first, max(last, joined[-1].last))
        else:
            joined.append(OffsetRange(first, last))
    return joined
