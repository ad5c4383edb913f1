"""What the combiner restores, in which order and when, and which records become dead letters."""

import re
import time
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.events import NOW_MS, post, signal
from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.kafka_log import KafkaLog, until
from builders.records import StoredRecord
from builders.waiting import now_ms
from feedmill.events.decode import encode
from feedmill.events.override import Override
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.ranking import combiner_logs
from feedmill.streams.ranking.combiner_logs import CombinerLogs, RankingLetters
from feedmill.streams.ranking.shard_claims import FIRST_SHARD
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.step import StepContext

NAMES = SignalNames()
COUNT = 1500


def produce_posts(kafka: KafkaLog, start: int) -> dict[str, int]:
    """Write posts; returns the offset of each."""
    ids = [f"p{i}" for i in range(start, start + COUNT)]
    # More bytes than their signals: they come later where both are fetched at once.
    records = [(i.encode(), encode(post(i, "text " * 2000, created_at_ms=NOW_MS))) for i in ids]
    kafka.produce("posts", records)
    return {
        (message.key() or b"").decode(): message.offset() or 0 for message in kafka.read("posts")
    }


def produce_signals(kafka: KafkaLog, offsets: dict[str, int]) -> None:
    for name in NAMES.all:
        records = [(p.encode(), encode(signal(p, offset))) for p, offset in offsets.items()]
        kafka.produce(f"signals.{name}", records)


def follow(logs: CombinerLogs) -> None:
    assert logs.read(500)[1] == []


def has_all(view: PostView, count: int) -> bool:
    rows = view.live_rows()
    return len(rows) == count and all(c.is_current(rows).all() for c in view.signals.values())


def test_signals_are_restored_after_posts_so_that_hardly_any_waits(kafka: KafkaLog) -> None:
    offsets = produce_posts(kafka, 0)
    produce_signals(kafka, offsets)
    view = PostView(NAMES, most_early=0)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    assert not logs.is_restored
    until(lambda: logs.is_restored, lambda: follow(logs))
    assert view.early.dropped == 0
    assert has_all(view, COUNT)
    assert logs.ready_reason() == ""

    # The same where an assignment has them read on: all that another worker wrote meanwhile.
    offsets = produce_posts(kafka, COUNT)
    produce_signals(kafka, offsets)
    logs.assigned(AssignmentChange(1, gained=(0, 1)), {})
    until(lambda: logs.is_restored and has_all(view, 2 * COUNT), lambda: follow(logs))
    assert view.early.dropped == 0

    # A signal that is withdrawn, among others.
    first = next(iter(offsets))
    kafka.produce(
        "signals.spam",
        [(first.encode(), b""), (first.encode(), encode(signal(first, offsets[first], 0.25)))],
    )
    row = view.row_of(first)
    assert row is not None
    until(lambda: (s := view.signal(row, "spam")) and s.value == 0.25, lambda: follow(logs))
    logs.close()


def test_while_posts_far_behind_come_signals_wait_in_their_log(
    kafka: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, position = PostView(NAMES), count(1000)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))

    def produce(post_id: str) -> None:
        kafka.produce("signals.spam", [(post_id.encode(), encode(signal(post_id, 99)))])

    produce("early")
    until(lambda: len(view.early) == 1, lambda: follow(logs))
    at = TopicPartition("posts", 0)
    monkeypatch.setattr(logs._log, "lag", lambda: {at: 1001})
    monkeypatch.setattr(logs._log, "positions", lambda: {at: next(position)})
    produce("waits")
    for _ in range(50):
        follow(logs)
        time.sleep(0.01)
    assert len(view.early) == 1
    # The partition has stopped: what is about others need not wait for it.
    monkeypatch.setattr(logs._log, "positions", lambda: {at: 5})
    until(lambda: len(view.early) == 2, lambda: follow(logs))
    logs.close()


def test_many_records_in_one_read_tell_that_others_have_a_backlog(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    produce_signals(kafka, produce_posts(kafka, 0))
    until(lambda: logs.is_catching_up, lambda: follow(logs))
    until(lambda: has_all(view, COUNT) and not logs.is_catching_up, lambda: follow(logs))
    logs.close()


def test_what_comes_before_its_post_waits_for_it_however_old_it_says_to_be(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    kafka.produce("signals.spam", [(b"p", encode(signal("p", 0, 0.25, at_ms=NOW_MS)))])
    until(lambda: len(view.early) == 1, lambda: follow(logs))
    # As the combiner does each second with what is older than the window of a week.
    view.free(view.expired(now_ms() - 7 * 86_400_000))
    kafka.produce("posts", [(b"p", encode(post("p")))])
    until(lambda: len(view.live_rows()) == 1, lambda: follow(logs))
    assert view.signals["spam"].is_current(view.live_rows()).all()
    logs.close()


def test_a_start_that_is_assigned_partitions_before_it_has_read_anything(kafka: KafkaLog) -> None:
    produce_signals(kafka, produce_posts(kafka, 0))
    view = PostView(NAMES, most_early=0)
    logs = CombinerLogs(Connection(kafka.environment), view, ("spam",), kafka.partitions)
    logs.assigned(AssignmentChange(1, gained=(0,)), {})
    until(lambda: logs.is_restored, lambda: follow(logs))
    assert has_all(view, COUNT)
    assert view.early.dropped == 0
    logs.close()


def test_an_owner_that_comes_back_knows_every_override_before_it_ranks(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, NAMES.all, kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    hide = encode(Override(verdict="hide", by="mod", reason="r", at_ms=NOW_MS))
    kafka.produce("overrides", [(f"post:p{i}|*".encode(), hide) for i in range(20_000)])
    logs.assigned(AssignmentChange(1, gained=(0, 1)), {})
    # One at a time: they are not read in passing while the rest is.
    until(lambda: logs.is_restored, lambda: logs.read(1))
    assert len(view.overrides) == 20_000
    kafka.produce("overrides", [(f"author:u{i}|*".encode(), hide) for i in range(1000)])
    counts: list[int] = []
    until(
        lambda: len(view.overrides) == 21_000,
        lambda: counts.append(logs.read(2000, lambda: False)[0]),
    )
    assert max(counts) <= 200  # whoever has no time takes a slice
    logs.close()


def test_an_override_does_not_wait_behind_signals(kafka: KafkaLog) -> None:
    view = PostView(NAMES)
    logs = CombinerLogs(Connection(kafka.environment), view, (), kafka.partitions)
    until(lambda: logs.is_restored, lambda: follow(logs))
    waiting = 30_000
    kafka.produce("signals.spam", [(b"p", encode(signal("p", n))) for n in range(waiting)])
    hide = encode(Override(verdict="hide", by="mod", reason="r", at_ms=NOW_MS))
    kafka.produce("overrides", [(b"post:p|*", hide)])
    read = 0

    def turn() -> None:
        nonlocal read
        read += logs.read(100)[0]
        # As the work of a cycle: the client fetches meanwhile.
        time.sleep(0.01)

    until(lambda: len(view.overrides), turn)
    assert read < waiting / 2
    logs.close()


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


OVERRIDES = TopicPartition("overrides", 0)


def test_overrides_are_read_at_once_in_a_restore_and_every_5_ms_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, topics = 1.0, cast(Topics, {OVERRIDES: []})
    monkeypatch.setattr(combiner_logs, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(combiner_logs, "LogConsumer", lambda *_, **__: FakeLog(topics))
    logs = CombinerLogs(cast(Connection, None), PostView(NAMES), NAMES.all, 1)

    def read_one_more() -> int:
        offset = len(topics[OVERRIDES])
        topics[OVERRIDES].append(StoredRecord(offset, 1, b"no key of an override", b"{}"))
        return logs.read(100)[0]

    assert not logs.is_restored
    assert read_one_more() == 1
    assert logs.read(100)[0] == 0  # signals come after posts
    assert logs.is_restored

    assert read_one_more() == 0
    now_s += 0.004
    assert read_one_more() == 0
    now_s += 0.001
    assert read_one_more() == 3

    logs.assigned(AssignmentChange(2, gained=(0,)), {})
    assert not logs.is_restored
    assert read_one_more() == 1


def test_a_rebalance_has_nothing_read_again_that_the_view_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Posts from where this worker judged, signals from behind what it committed."""
    opened: list[FakeLog] = []
    topics = cast(Topics, {})

    def open_log(*_: object, **__: object) -> FakeLog:
        opened.append(FakeLog(topics))
        return opened[-1]

    def write(topic: str, partition: int, until: int) -> None:
        records = topics.setdefault(TopicPartition(topic, partition), [])
        records += [StoredRecord(n, 1, b"", b"{}") for n in range(len(records), until)]

    def reads_since(change: AssignmentChange, **written: int) -> dict[TopicPartition, int]:
        for log in opened:
            log.reads.clear()
        logs.assigned(change, {TopicPartition(f"signals.{n}", 1): w for n, w in written.items()})
        for _ in range(3):
            logs.read(10_000)
        assert logs.is_restored
        return {source: start for log in opened for source, start in log.reads}

    monkeypatch.setattr(combiner_logs, "LogConsumer", open_log)
    names = SignalNames(gates=("spam", "nsfw"), objectives=("quality",))
    made = ("spam", "nsfw")
    logs = CombinerLogs(cast(Connection, None), PostView(names), made, 2)
    for topic in ("posts", *(f"signals.{name}" for name in names.all)):
        write(topic, 0, 3)
        write(topic, 1, 5)
    for _ in range(3):
        logs.read(10_000)
    assert logs.was_restored
    assert reads_since(AssignmentChange(1, gained=(0, 1))) == {}

    # Its own steps have the posts now, and its commits are known; another's signals go on.
    for topic in ("posts", "signals.spam", "signals.nsfw", "signals.quality"):
        write(topic, 1, 20)
    logs.read(10_000)
    logs.judged(1, 12)
    assert reads_since(AssignmentChange(2, lost=(1,), kept=(0,)), spam=9) == {
        TopicPartition("posts", 1): 12,
        TopicPartition("signals.spam", 1): 9,
        # Nothing of this one was committed since the log left it.
        TopicPartition("signals.nsfw", 1): 5,
    }
    # Back again, and lost in the middle: what a former commit says is behind what was read since.
    assert reads_since(AssignmentChange(3, gained=(1,), kept=(0,)), spam=9) == {}
    again = AssignmentChange(4, lost=(1,), gained=(1,), kept=(0,))
    names_of = ("posts", "signals.spam", "signals.nsfw")
    assert reads_since(again, spam=9) == {TopicPartition(name, 1): 20 for name in names_of}
    assert reads_since(AssignmentChange(5, kept=(0, 1)), spam=30) == {}
    assert reads_since(AssignmentChange(6, lost=(0, 1))).keys() >= {TopicPartition("posts", 0)}
