"""How many workers in a row ended without giving their partitions back, as Kafka knows it.

Beside the offset of each partition its owner commits the note `ends`: so many, and that it is open.
Who gives the partition back takes the second away, so the next owner sees whether that was done.
"""

from __future__ import annotations

import re
from dataclasses import replace

from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.worker.step import Writer

NOTE = "ends"
_OPEN = " open"


class UncleanEnds:
    """The unclean ends before this worker, by the partitions that it owns.

    `is_failed` is set where the worker ends by an error: then nothing is given back.
    """

    def __init__(self) -> None:
        self.is_failed = False
        self._before: dict[int, int] = {}
        self._has_any = False

    def before(self, partition: int) -> int:
        """Return how many there were in a row."""
        return self._before.get(partition, 0)

    def __contains__(self, partition: int) -> bool:
        return partition in self._before

    def any(self) -> bool:
        """Return whether any partition had one."""
        return self._has_any

    def assigned(self, change: AssignmentChange) -> AssignmentChange:
        """Learn how the owners before ended; return the change with notes that it has one now.

        They are to be committed before anything is judged.
        """
        for partition in change.lost:
            self._before.pop(partition, None)
        notes = dict(change.notes)
        for partition in change.owned:
            of_partition = notes.get(partition, {})
            if partition not in self._before:
                self._before[partition] = _read(of_partition.get(NOTE, ""))
            notes[partition] = {**of_partition, NOTE: f"{self._before[partition]}{_OPEN}"}
        self._has_any = any(self._before.values())
        return replace(change, notes=notes)

    def forget(self, writer: Writer) -> None:
        """Begin to count anew: this worker has done all that the ones before may have ended in."""
        self._has_any = False
        for partition, count in self._before.items():
            if count:
                self._before[partition] = 0
                writer.note(partition, NOTE, f"0{_OPEN}")

    def give_back(self, writer: Writer) -> None:
        """Say that nothing is open any more, in the last commit before others may have it."""
        if not self.is_failed:
            for partition, count in self._before.items():
                writer.note(partition, NOTE, str(count) if count else "")


def _read(text: str) -> int:
    found = re.fullmatch(rf"(\d{{1,6}})({_OPEN})?", text)
    return 0 if found is None else int(found[1]) + bool(found[2])
