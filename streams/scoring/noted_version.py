"""Under which version of a model, or of rules, the posts of a worker's partitions are."""

from __future__ import annotations

from feedmill.streams.worker.step import Writer

# Instead of a version while a pass is under way: some posts are under another version.
MIXED = "-"


class NotedVersion:
    """Under which version of something the posts of each partition are, beside the one in force.

    Attributes
    ----------
    note
        The name under which that is committed beside the offset of a partition.
    now
        The version in force.
    of
        By partition the version under which all of its posts are.
    """

    def __init__(self, note: str) -> None:
        self.note = note
        self.now = ""
        self.of: dict[int, str] = {}
        self._noted: dict[int, str] = {}

    def gain(self, partition: int, text: str, without: str) -> None:
        """Begin with the text of a partition's note; `without` holds where there is none."""
        self.of[partition] = text or without
        self._noted[partition] = text

    def lose(self, partition: int) -> None:
        self.of.pop(partition, None)
        self._noted.pop(partition, None)

    def behind(self) -> list[int]:
        """Return the partitions with posts that are not under the version in force."""
        return sorted(p for p, version in self.of.items() if version != self.now)

    def mark_mixed(self, partition: int, writer: Writer) -> None:
        """Note that the posts of a partition are under several versions."""
        self.of[partition] = MIXED
        self._write(partition, writer)

    def write(self, writer: Writer) -> None:
        """Note which partitions are under the version in force."""
        for partition, version in self.of.items():
            if version == self.now:
                self._write(partition, writer)

    def _write(self, partition: int, writer: Writer) -> None:
        if self._noted[partition] != self.of[partition]:
            self._noted[partition] = self.of[partition]
            writer.note(partition, self.note, self.of[partition])
