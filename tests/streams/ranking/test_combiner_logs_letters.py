"""Which rejected records become dead letters, through takeovers and restarts; without Kafka."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from builders.fake_log import KeptWriter
from builders.records import StoredRecord
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.ranking import combiner_logs
from feedmill.streams.ranking.combiner_logs import RankingLetters
from feedmill.streams.ranking.shard_claims import FIRST_SHARD
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.step import StepContext

NOTE = (FIRST_SHARD, "combiner.letters_of_overrides")


def bad(*at_ms: int, topic: str = "overrides", value: bytes = b"{") -> list[RejectedRecord]:
    """Rejected records, their key their timestamp."""
    return [
        RejectedRecord(TopicPartition(topic, 0), StoredRecord(i, at, b"%d" % at, value), "why")
        for i, at in enumerate(at_ms)
    ]


class Ranking:
    """A worker's letters, and what it wrote."""

    def __init__(self) -> None:
        connection: Any = SimpleNamespace(environment=Environment(memory_mib=64))
        self.metrics = Metrics("combiner", "one")
        context = StepContext(connection, LogClock(), self.metrics, 4)
        self.letters = RankingLetters("combiner", context)
        self.writer = KeptWriter()

    def gain(self, note: str | None = None) -> None:
        notes = {} if note is None else {FIRST_SHARD: {"combiner.letters_of_overrides": note}}
        self.letters.assigned(AssignmentChange(1, shards_gained=(0, 1), notes=notes))

    def rank(self, note: str | None = None) -> None:
        self.gain(note)
        self.letters.claimed(self.writer)

    def reject(self, records: list[RejectedRecord]) -> None:
        self.letters.reject(records, self.writer)

    @property
    def written(self) -> list[int]:
        return [one.record.timestamp for one, _ in self.writer.rejected]

    @property
    def without_content(self) -> list[int]:
        """Those of them whose key and value were not kept."""
        return [one.record.timestamp for one, is_whole in self.writer.rejected if not is_whole]


def test_the_worker_that_ranks_writes_one_for_each_but_those_of_posts() -> None:
    ranking = Ranking()
    ranking.rank()
    ranking.reject([*bad(7, 9), *bad(8, topic="posts")])
    assert ranking.written == [7, 9]


def test_a_note_is_in_the_cycle_of_the_letters_that_it_stands_for() -> None:
    ranking = Ranking()
    ranking.rank()
    ranking.reject(bad(9, 7))
    assert ranking.writer.notes[NOTE] == "9"
    ranking.reject(bad(8))
    assert ranking.writer.added_at_note == [2]


def test_what_a_restore_finds_again_has_its_letter_what_came_meanwhile_gets_it() -> None:
    ranking = Ranking()
    ranking.reject(bad(5, 9))
    ranking.gain("7")
    ranking.reject(bad(6, 8))
    assert ranking.written == []
    ranking.letters.claimed(ranking.writer)
    assert ranking.written == [9, 8]


def test_signals_that_are_read_later_than_overrides_have_their_letters_too() -> None:
    first, second = Ranking(), Ranking()
    first.rank()
    first.reject(bad(3, topic="signals.spam"))
    first.reject(bad(9))
    assert first.writer.notes == {NOTE: "9", (FIRST_SHARD, "combiner.letters"): "3"}
    # It ends before it reads the signal of the time 5.
    second.reject([*bad(3, 9), *bad(3, 5, topic="signals.spam")])
    notes = {name: text for (_, name), text in first.writer.notes.items()}
    second.letters.assigned(AssignmentChange(1, shards_gained=(0,), notes={FIRST_SHARD: notes}))
    second.letters.claimed(second.writer)
    assert second.written == [5]


def test_another_worker_takes_over_what_came_after_the_last_letter() -> None:
    ranking = Ranking()
    ranking.letters.assigned(AssignmentChange(1, gained=(0, 1), shards_gained=(1,)))
    ranking.reject(bad(3, 4, 5))
    assert (ranking.written, ranking.writer.notes) == ([], {})
    ranking.rank("4")
    assert ranking.written == [5]


def test_a_worker_that_lost_the_ranking_writes_no_more() -> None:
    ranking = Ranking()
    ranking.rank("4")
    ranking.letters.assigned(AssignmentChange(2, shards_kept=(0, 1)))
    ranking.reject(bad(5))
    ranking.letters.assigned(AssignmentChange(3, kept=(0,), shards_lost=(0,), shards_kept=(1,)))
    ranking.reject(bad(6))
    assert ranking.written == [5]
    assert ranking.writer.notes == {NOTE: "5"}


def test_of_what_waits_the_newest_is_kept_whole_and_no_place_is_lost() -> None:
    ranking = Ranking()
    ranking.reject(bad(*range(1, 11), value=b"x" * 500_000))
    ranking.rank("2")
    assert ranking.written == [*range(3, 11)]
    # 2 MiB of them.
    assert ranking.without_content == [3, 4, 5, 6]


def test_what_is_lost_is_counted_and_the_log_names_the_topic(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(combiner_logs, "MOST_PLACES", 3)
    ranking = Ranking()
    ranking.reject(bad(*range(1, 11), value=b"x" * 500_000))
    ranking.rank()
    assert ranking.written == [*range(4, 11)]
    assert lost_letters(ranking) == 3
    assert "3 bad records of overrides came while nobody ranked" in caplog.text


def test_what_is_known_to_have_its_letter_does_not_wait() -> None:
    ranking = Ranking()
    ranking.gain("9")
    ranking.reject(bad(*range(1, 9), value=b"x" * 500_000))
    ranking.reject(bad(10))
    ranking.letters.claimed(ranking.writer)
    assert (ranking.written, ranking.without_content) == ([10], [])


def lost_letters(ranking: Ranking) -> int:
    (count,) = re.findall(r"(?m)^feedmill_lost_letters_total\S* (\d+)", ranking.metrics.text())
    return int(count)
