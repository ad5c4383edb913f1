"""Which posts end the process that judges them: found by trying them, each of these three times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from feedmill.streams.kafka.batches import Record
from feedmill.streams.poison.judging_child import Ended

# Together they are quick, and one that ends the process has few beside it to be tried singly.
CHUNK = 64


class Judge(Protocol):
    """Judges posts in a process that they may end, see `JudgingChild.judge`."""

    def __call__(self, records: Sequence[Record], *, singly: bool) -> Ended | None:
        """Return what ended the process; None where nothing did."""
        ...


class PoisonRecord(NamedTuple):
    """A record that ends whoever judges it, and how."""

    record: Record
    reason: str


def find_poison(records: Sequence[Record], judge: Judge) -> Iterator[PoisonRecord]:
    """Yield the records that end the process among others, singly, and once more alone."""
    for first in range(0, len(records), CHUNK):
        chunk = records[first : first + CHUNK]
        if judge(chunk, singly=False) is not None:
            yield from _find_singly(chunk, judge)


def _find_singly(records: Sequence[Record], judge: Judge) -> Iterator[PoisonRecord]:
    while records and (ended := judge(records, singly=True)) is not None:
        suspect = records[ended.place]
        again = judge([suspect], singly=True)
        if again is not None:
            yield PoisonRecord(suspect, again.reason)
        records = records[ended.place + 1 :]
