"""Whoever has partitions next knows how many owners in a row ended without giving them back."""

from builders.fake_log import KeptWriter
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.poison.unclean_ends import NOTE, UncleanEnds


class Kafka:
    """One partition, its note, and the workers that own it one after another."""

    def __init__(self) -> None:
        self.note = ""

    def worker(self) -> tuple[UncleanEnds, KeptWriter]:
        """A worker that owns the partition and has committed."""
        ends, writer = UncleanEnds(), KeptWriter()
        notes = {0: {NOTE: self.note}} if self.note else {}
        self.note = ends.assigned(AssignmentChange(1, gained=(0,), notes=notes)).notes[0][NOTE]
        return ends, writer

    def take(self, writer: KeptWriter) -> None:
        self.note = writer.notes[0, NOTE]


def test_an_end_without_giving_back_is_counted_and_one_with_it_is_not() -> None:
    kafka = Kafka()
    assert kafka.worker()[0].before(0) == 0
    assert kafka.worker()[0].before(0) == 1
    ends, writer = kafka.worker()
    assert ends.before(0) == 2
    assert ends.any()
    # Whoever gives it back has not found the cause, so the count stays as it is.
    ends.give_back(writer)
    kafka.take(writer)
    ends, writer = kafka.worker()
    assert ends.before(0) == 2
    ends.forget(writer)
    assert not ends.any()
    ends.give_back(writer)
    kafka.take(writer)
    assert kafka.note == ""
    assert kafka.worker()[0].before(0) == 0


def test_what_went_on_for_a_while_is_forgotten_and_the_next_end_is_the_first() -> None:
    kafka = Kafka()
    for _ in range(30):
        ends, writer = kafka.worker()
    assert ends.before(0) == 29
    ends.forget(writer)
    kafka.take(writer)
    assert kafka.worker()[0].before(0) == 1


def test_a_worker_that_fails_gives_nothing_back() -> None:
    kafka = Kafka()
    ends, writer = kafka.worker()
    ends.is_failed = True
    ends.give_back(writer)
    assert writer.notes == {}
    assert kafka.worker()[0].before(0) == 1


def test_a_partition_that_stays_keeps_its_count_and_one_that_goes_is_forgotten() -> None:
    ends, writer = UncleanEnds(), KeptWriter()
    notes = {0: {NOTE: "1 open", "other": "stays"}, 1: {NOTE: "nonsense"}}
    change = ends.assigned(AssignmentChange(1, gained=(0, 1), notes=notes))
    assert change.notes == {0: {NOTE: "2 open", "other": "stays"}, 1: {NOTE: "0 open"}}
    assert (ends.before(0), ends.before(1)) == (2, 0)
    ends.give_back(writer)
    assert writer.notes == {(0, NOTE): "2", (1, NOTE): ""}
    # The note of before is that of the commit that gave it back.
    change = AssignmentChange(2, kept=(0,), lost=(1,), notes={0: {NOTE: "2"}})
    assert ends.assigned(change).notes == {0: {NOTE: "2 open"}}
    assert (0 in ends, 1 in ends) == (True, False)
    # Another one had it in between, and ended.
    change = AssignmentChange(3, gained=(0,), lost=(0,), notes={0: {NOTE: "3 open"}})
    ends.assigned(change)
    assert ends.before(0) == 4
