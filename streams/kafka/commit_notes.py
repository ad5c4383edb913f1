"""Notes: short texts that stand beside the offset of a partition, in its worker's transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import CommitMark, encode_mark

# The broker takes 4,096 bytes of metadata; the rest is the mark's own.
MAX_BYTES = 3_900

Notes = Mapping[TopicPartition, Mapping[str, str]]


class CommitNotes:
    """The notes of each partition: those of the next commit, and those of a cycle that goes on.

    Attributes
    ----------
    sealed
        What is committed, by partition.
    """

    def __init__(self) -> None:
        self.sealed: dict[TopicPartition, dict[str, str]] = {}
        self._gathered: dict[TopicPartition, dict[str, str]] = {}

    @property
    def are_gathered(self) -> bool:
        """Whether there are any that `seal` would take."""
        return bool(self._gathered)

    def gather(self, at: TopicPartition, name: str, text: str) -> None:
        """Take a text for `seal`; an empty one removes the note.

        Raises
        ------
        ValueError
            The notes of the partition would take more than the broker allows.
        """
        gathered = {**self._gathered.get(at, {}), name: text}
        size = len(encode_mark(CommitMark(notes=self._with(at, gathered))).encode())
        if size > MAX_BYTES:
            raise ValueError(f"the notes of {at.topic}[{at.partition}] take {size} bytes: too many")
        self._gathered[at] = gathered

    def seal(self) -> None:
        """Have what was gathered committed from now on."""
        gathered, self._gathered = self._gathered, {}
        self.take(gathered)

    def take(self, notes: Notes) -> None:
        """Have these committed from now on, beside the others."""
        for at, some in notes.items():
            self.sealed[at] = self._with(at, some)

    def assign(self, kept: Collection[TopicPartition], notes: Notes) -> None:
        """Begin with what was committed; of what was gathered that of `kept` partitions stays."""
        self.sealed = {at: dict(some) for at, some in notes.items()}
        self._gathered = {at: some for at, some in self._gathered.items() if at in kept}

    def _with(self, at: TopicPartition, some: Mapping[str, str]) -> dict[str, str]:
        notes = {**self.sealed.get(at, {}), **some}
        return {name: text for name, text in notes.items() if text}
