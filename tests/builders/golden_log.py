"""Records as a broker would hold them: fixed partitions, offsets and timestamps."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from builders.records import StoredRecord
from feedmill.events.partition import partition_of

PARTITIONS = 2
ONE_PARTITION = ("overrides", "config", "instances")
BATCH_RECORDS = 80


@dataclass
class Round:
    """What came until a moment, by topic and partition."""

    name: str
    now_ms: int
    records: dict[tuple[str, int], list[StoredRecord]] = field(default_factory=dict)

    def batches(self, topic: str) -> Iterator[tuple[int, list[StoredRecord]]]:
        """The records of a topic, cut as fetches would cut them: partition and records."""
        for (of, partition), records in sorted(self.records.items()):
            if of == topic:
                for start in range(0, len(records), BATCH_RECORDS):
                    yield partition, records[start : start + BATCH_RECORDS]

    def topics(self) -> list[str]:
        return sorted({topic for topic, _ in self.records})


class Log:
    """Appends records, each some milliseconds after the one before."""

    def __init__(self, start_ms: int) -> None:
        self.at_ms = start_ms
        self.rounds: list[Round] = []
        self._ends: dict[tuple[str, int], int] = {}

    def begin(self, name: str, at_ms: int) -> None:
        """Begin a round whose records are stamped from `at_ms` on."""
        self.at_ms = at_ms
        self.rounds.append(Round(name, at_ms))

    def add(self, topic: str, key: bytes | None, value: bytes | None, *, off: int = 0) -> int:
        """Append a record; its offset.  `off` puts it that many partitions beside its own."""
        self.at_ms += 37
        count = 1 if topic in ONE_PARTITION else PARTITIONS
        partition = (partition_of(key or b"", count) + off) % count
        at = (topic, partition)
        # As after a transaction or a compaction: not every offset holds a record.
        offset = self._ends.get(at, 0) + (3 if self.at_ms % 11 == 0 else 0)
        self._ends[at] = offset + 1
        last = self.rounds[-1]
        last.records.setdefault(at, []).append(StoredRecord(offset, self.at_ms, key, value))
        last.now_ms = self.at_ms + 5
        return offset

    def say(self, topic: str, key: str, value: Any) -> int:
        """Append a record with this value as JSON, None for an empty one."""
        raw = None if value is None else json.dumps(value, ensure_ascii=False).encode()
        return self.add(topic, key.encode(), raw)

    def say_all(self, topic: str, values: Iterable[tuple[str, Any]]) -> None:
        for key, value in values:
            self.say(topic, key, value)
