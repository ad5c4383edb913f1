"""A `LogConsumer` over records in memory, and what steps need around it."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, cast

from builders.records import StoredRecord
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.log_consumer import BEGINNING, LogConsumer
from feedmill.streams.kafka.validation import RejectedRecord

Topics = dict[TopicPartition, list[StoredRecord]]


class FakeLog:
    """Reads what `topics` hold, also what is appended later; `reads` says from where it was read.

    `held` are records that stand behind an open transaction: none from that offset on is given.
    `ends` are where partitions end that have markers of transactions after their last record.
    `is_live` is false until a log that is restored brings what is written.
    """

    def __init__(
        self,
        topics: Topics,
        held: dict[TopicPartition, int] | None = None,
        ends: dict[TopicPartition, int] | None = None,
    ) -> None:
        self.name = "a log"
        self.topics = topics
        self.held = {} if held is None else held
        self.ends = {} if ends is None else ends
        self.is_live = True
        self.stopped: dict[TopicPartition, str] = {}
        self.reads: list[tuple[TopicPartition, int]] = []
        self._asking: dict[TopicPartition, int] = {}
        self._again: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    def open(self, name: str) -> LogConsumer:
        self.name = name
        return cast(LogConsumer, self)

    def end(self, source: TopicPartition) -> int:
        records = self.topics.get(source, [])
        return self.ends.get(source, records[-1].offset + 1 if records else 0)

    def add(self, starts: Mapping[TopicPartition, int], *, or_first: bool = False) -> None:
        for source, start in starts.items():
            assert source not in self._positions, "added twice"
            assert source not in self._asking, "added twice"
            records = self.topics.get(source, [])
            first = records[0].offset if or_first and records else 0
            self._asking[source] = first if start == BEGINNING else max(start, first)

    def add_since(self, times: Mapping[TopicPartition, int]) -> None:
        found = {}
        for source, at_ms in times.items():
            later = [r.offset for r in self.topics.get(source, []) if r.timestamp >= at_ms]
            found[source] = later[0] if later else self.end(source)
        self.add(found)

    def restore_again(self) -> None:
        self._again |= self._positions.keys()
        self._ends = {}

    def drop(self, sources: Iterable[TopicPartition]) -> None:
        for source in sources:
            for known in (self._asking, self._positions, self._ends):
                known.pop(source, None)
            self._again.discard(source)

    def read(
        self, most: int, wait_s: float = 0.0, *, most_bytes: int = 1 << 60
    ) -> list[RecordBatch]:
        for source, start in self._asking.items():
            self._positions[source], self._ends[source] = start, self.end(source)
            self.reads.append((source, start))
        self._asking = {}
        self._ends |= {source: self.end(source) for source in self._again}
        self._again = set()
        batches = []
        for source, position in self._positions.items():
            until = self.held.get(source, 1 << 60)
            records = [r for r in self.topics.get(source, []) if position <= r.offset < until][
                :most
            ]
            # The record that reaches the bound is the last one.
            sizes = accumulate((len(record.value or b"") for record in records), initial=0)
            records = [r for r, before in zip(records, sizes, strict=False) if before < most_bytes]
            most_bytes -= sum(len(record.value or b"") for record in records)
            if records:
                most -= len(records)
                batches.append(RecordBatch(source, cast(Any, records)))
                self._positions[source] = records[-1].offset + 1
            elif source in self.ends:
                self._positions[source] = max(position, self.ends[source])
        return batches

    def restored(self, source: TopicPartition) -> bool:
        return source in self._ends and self._positions[source] >= self._ends[source]

    def all_restored(self) -> bool:
        return not (self._asking or self._again) and all(map(self.restored, self._positions))

    def all_live(self) -> bool:
        return self.is_live and self.all_restored()

    def positions(self) -> dict[TopicPartition, int]:
        return dict(self._positions)

    def ready_reason(self) -> str:
        return "" if self.all_restored() else f"reading {self.name}"

    def close(self) -> None:
        self.stopped = {}


class KeptWriter(TransactionalWriter):
    """Keeps what is added, and the notes; commits nothing."""

    def __init__(self) -> None:
        self.added: list[tuple[str, bytes | None, bytes | None, TopicPartition]] = []
        # With whether key and value are there.
        self.rejected: list[tuple[RejectedRecord, bool]] = []
        self.notes: dict[tuple[TopicPartition, str], str] = {}
        self.added_at_note: list[int] = []

    def add(
        self, topic: str, key: bytes | None, value: bytes | None, *, owner: TopicPartition, **_: Any
    ) -> None:
        self.added.append((topic, key, value, owner))

    def reject(
        self,
        rejection: RejectedRecord,
        stage: str,
        at_ms: int,
        *,
        owner: TopicPartition,
        is_whole: bool = True,
    ) -> bool:
        self.rejected.append((rejection, is_whole))
        return is_whole

    def note(self, at: TopicPartition, name: str, text: str) -> None:
        self.notes[at, name] = text
        self.added_at_note.append(len(self.added) + len(self.rejected))
