"""Which posts end the process that judges them: found by trying them, each of these twice."""

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
    """Yield the records that end the process twice: once among others, once by themselves."""
    for first in range(0, len(records), CHUNK):
        chunk = records[first : first + CHUNK]
        while chunk and judge(chunk, singly=False) is not None:
            ended = judge(chunk, singly=True)
            if ended is None:
                # Together they took too much, or something else ended it.
                break
            yield PoisonRecord(chunk[ended.place], ended.reason)
            chunk = chunk[ended.place + 1 :]
