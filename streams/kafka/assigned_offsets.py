"""What is asked of Kafka behind an assignment: where partitions begin, end and were committed."""

from __future__ import annotations

from collections.abc import Sequence

from feedmill.streams.kafka.assignment import CommitMark, decode_mark
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.offsets import Bounds, Committed, Offsets


class PartitionOffsets:
    """Of one partition: its log from `first` to `end`, where to start, and the last commit."""

    __slots__ = ("end", "first", "mark", "start")

    def __init__(self, bounds: Bounds, committed: Committed | None) -> None:
        self.first, self.end = bounds
        self.start = bounds.first if committed is None else committed.offset
        self.mark = CommitMark() if committed is None else decode_mark(committed.text)


class OffsetQuestions:
    """Asks for the bounds and the committed offsets of partitions; nothing waits."""

    def __init__(self, offsets: Offsets, group: str, sources: Sequence[TopicPartition]) -> None:
        self._sources = sources
        self._committed = offsets.committed(group, sources)
        self._bounds = offsets.bounds(sources)

    def done(self) -> bool:
        """Whether both are answered."""
        return self._committed.done() and self._bounds.done()

    def result(self) -> dict[TopicPartition, PartitionOffsets]:
        """Return the answers.

        Raises
        ------
        KafkaException
            Kafka refused one of the questions.
        """
        committed, bounds = self._committed.result(), self._bounds.result()
        return {at: PartitionOffsets(bounds[at], committed.get(at)) for at in self._sources}
