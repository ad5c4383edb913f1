"""Commits what a worker writes with its offsets, so that each record is there exactly once.

The loop gathers records, and seals them with its positions at the end of every cycle.  Sealed
records go into the transaction that has begun.  A thread commits it and begins the next one;
records that are sealed during the commit wait for the next transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain

from feedmill.streams.environment import MemoryShares
from feedmill.streams.kafka.assignment import SHARDS, AssignmentChange
from feedmill.streams.kafka.batches import Outgoing, TopicPartition
from feedmill.streams.kafka.dead_letters import Rejections, outgoing_bytes
from feedmill.streams.kafka.offsets import MAX_MARK_BYTES, CommitMark, encode_mark
from feedmill.streams.kafka.transactional_producer import Outcome, TransactionalProducer
from feedmill.streams.kafka.validation import RejectedRecord

log = logging.getLogger(__name__)

# With more uncommitted records the loop reads no more: Kafka is slow or away.
FULL_RECORDS = 200_000
# How often a worker commits; other workers see its signals only after the commit.
INTERVAL_S = 0.5
_REVOKED_WITHIN_S = 5.0
_SERVE_EVERY_S = 1.0
Notes = Mapping[TopicPartition, Mapping[str, str]]


@dataclass
class CommitStatistics:
    """What was committed since the last call of `statistics`, for metrics."""

    commit_seconds: list[float]
    records: int = 0
    aborts: int = 0
    dead_letters: int = 0
    shared: int = 0  # rejected records that share letters


class TransactionalWriter:
    """Gathers what steps write, and commits it with the positions of all that is owned.

    The offset of a shard is always 0; beside it stand its owner's mark and notes.  The first commit
    of an assignment has all shards, later commits have the first shard and those with notes.

    `add`, `note`, `seal`, `assigned`, `revoked` and `lost` belong to the loop's thread.

    Attributes
    ----------
    committed_epoch
        The last assignment with a commit; its first commit has all its notes.
    interval_s
        The least time between the beginnings of two commits.
    """

    def __init__(
        self,
        producer: TransactionalProducer,
        *,
        owner: str,
        shares: MemoryShares,
        interval_s: float = INTERVAL_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble = ""
        self.committed_epoch = 0
        self._producer = producer
        self._owner = owner
        self.interval_s = interval_s
        self._now = now
        self._changed = threading.Condition()
        # Held during a commit, also while Kafka answers; `_changed` is never held so long.
        self._committing = threading.Lock()
        self._full_bytes = shares.uncommitted_bytes
        self._rejections = Rejections(shares.letter_bytes, now)
        self._gathered: list[Outgoing] = []
        self._sealed: list[Outgoing] = []
        self._in_flight: list[Outgoing] = []
        self._sealed_bytes = self._in_flight_bytes = 0
        self._positions: Mapping[TopicPartition, int] = {}
        self._shards: list[TopicPartition] = []
        self._notes = CommitNotes()
        self._extra: dict[TopicPartition, tuple[int, str]] = {}
        self._session: object | None = None
        self._epoch = 0
        self._dirty = False
        self._is_begun = False  # then sealed records go to Kafka at once
        self._number = 0
        self._closing = False
        self._failure: Exception | None = None
        self._statistics = CommitStatistics([])
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)

    def start(self) -> None:
        """Start the thread; it commits nothing before `assigned`."""
        self._thread.start()

    # --- the loop's side -------------------------------------------------------------------

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        owner: TopicPartition,
        partition: int | None = None,
    ) -> None:
        """Gather a record for a topic (named without the prefix).

        `owner` is the partition of `posts`, or the shard, on whose behalf the record is written:
        once the worker loses `owner`, the record is dropped.  `partition` is that of `owner` unless
        given, which is right for every topic that is partitioned like `posts`.
        """
        place = owner.partition if partition is None else partition
        self._gathered.append(Outgoing(topic, place, key, value, owner))

    def reject(
        self,
        rejection: RejectedRecord,
        stage: str,
        at_ms: int,
        *,
        owner: TopicPartition,
        is_whole: bool = True,
    ) -> bool:
        """Gather the dead letter of a record that `stage` rejected at `at_ms`.

        Return True if the record gets a letter of its own.  Beyond a rate, or without key and value
        (`is_whole` False), the bad records of a partition share a letter.  `owner` as of `add`.
        """
        letter = self._rejections.reject(rejection, stage, at_ms, owner, is_whole=is_whole)
        if letter is not None:
            self._gathered.append(letter)
        return letter is not None

    def note(self, at: TopicPartition, name: str, text: str) -> None:
        """Commit a short text beside an owned partition's offset; see `AssignmentChange.notes`.

        The note is in the transaction of what this cycle adds, and stays until another text
        replaces it; an empty text removes it.

        Raises `ValueError`: the notes of the partition would take more than the broker allows.
        """
        self._notes.gather(at, name, text)

    def commit_once(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets of other partitions, each with a text, in the next transaction alone."""
        with self._changed:
            self._extra |= offsets
            self._dirty = True
            self._changed.notify()

    def seal(self, positions: Mapping[TopicPartition, int]) -> None:
        """End a cycle: what was gathered belongs to these positions, of every owned partition.

        The caller must not change the mapping any more.  Raises what ended the committing thread.
        """
        if self._failure is not None:
            raise self._failure
        gathered, self._gathered = self._gathered, []
        is_moved = positions != self._positions
        if not (gathered or is_moved or self._notes.are_gathered or self._rejections.is_sharing):
            return
        with self._changed:
            is_sharing = self._rejections.seal()
            if self._session is None and not gathered and not is_sharing:
                return
            self._sealed += gathered
            self._sealed_bytes += outgoing_bytes(gathered)
            if self._session is not None:
                self._positions = positions
                self._notes.seal()
                self._hand_over()
            self._have_committed()

    def assigned(self, change: AssignmentChange, session: object) -> None:
        """Go on for a new assignment; `session` is the member's `group_metadata`.

        Records and notes of partitions that are not `kept` are dropped.  The first transaction
        follows as soon as the interval allows, records or not: from then on no former owner can
        commit.
        """
        owned = change.places
        with self._changed:
            self._epoch = change.epoch
            self._is_begun = False
            self._producer.discard()
            kept = set(change.places_kept)
            self._drop(kept)
            self._notes.assign(kept, {at: change.notes.get(at, {}) for at in owned})
            self._positions = dict(change.starts)
            self._shards = [at for at in owned if at.topic == SHARDS]
            self._session = session if owned else None
            self._dirty = bool(owned)
            self._changed.notify()

    def revoked(self, notes: Notes) -> bool:
        """Commit what is sealed, and these notes; return whether all of it is committed.

        After that nothing is committed before `assigned`.
        """
        deadline = self._now() + _REVOKED_WITHIN_S
        if notes:
            with self._changed:
                self._notes.add(notes)
                self._have_committed()
        done = self._commit_until(deadline)
        with self._changed:
            self._session = None
        if not done:
            log.warning("a revocation came before the last %d records", len(self._in_flight))
        return done

    def lost(self) -> None:
        """Drop everything: the partitions have other owners."""
        with self._changed:
            self._epoch += 1
            self._session = None
            self._is_begun = False
            self._drop(set())
        self._producer.renew()

    @property
    def is_full(self) -> bool:
        """True while too much is uncommitted, so that the loop must wait."""
        records = len(self._sealed) + len(self._in_flight)
        # Dead letters have their own bound.
        taken = self._sealed_bytes + self._in_flight_bytes - self._rejections.waiting_bytes
        return records > FULL_RECORDS or taken > self._full_bytes or self._rejections.is_full

    def statistics(self) -> CommitStatistics:
        """Return the statistics since the last call."""
        with self._changed:
            found, self._statistics = self._statistics, CommitStatistics([])
            found.shared, self._rejections.shared_count = self._rejections.shared_count, 0
        return found

    def written(self) -> Mapping[TopicPartition, int]:
        """Return `TransactionalProducer.written`."""
        return self._producer.written.copy()

    def is_committed(self) -> bool:
        """Return whether everything is committed."""
        with self._changed:
            return not self._dirty and not self._in_flight

    def close(self) -> None:
        """Stop; the next owner makes again what is not committed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        self._producer.close()

    # --- the commits -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._commit_for_ever()
        except Exception as error:  # noqa: BLE001 - `seal` raises it on the loop's thread
            self._failure = error

    def _commit_for_ever(self) -> None:
        self._producer.connect()
        due = 0.0
        while True:
            with self._changed:
                while not self._closing and (wait := self._wait_s(due)) is not None:
                    self._changed.wait(wait or _SERVE_EVERY_S)
                    self._producer.serve()
                if self._closing:
                    return
            due = self._now() + self.interval_s
            with self._committing:
                self._commit()
                # A new producer takes half a second; gained partitions wait for the first commit.
                if self._producer.adapt():
                    due = 0.0

    def _have_committed(self) -> None:
        """Let the thread commit; it is woken only if nothing was to be committed before."""
        if not self._dirty:
            self._dirty = True
            self._changed.notify()

    def _wait_s(self, due: float) -> float | None:
        """Return how long to wait for the next commit; None: it is due, 0: until a notification."""
        if self._session is None or not self._dirty:
            return 0.0
        left = due - self._now()
        return left if left > 0 else None

    def _commit_until(self, deadline: float) -> bool:
        """Commit on the calling thread until all is committed or the time is over."""
        if not self._committing.acquire(timeout=max(0.0, deadline - self._now())):
            return False
        try:
            while self._session is not None and self._dirty:
                if not self._commit(deadline) and self._now() >= deadline:
                    return False
                if self._session is None:
                    return False
            return not self._dirty
        finally:
            self._committing.release()

    def _commit(self, deadline: float | None = None) -> bool:
        """Run one transaction with all that is sealed; the caller holds `_committing`."""
        with self._changed:
            if self._session is None:
                return False
            unsure = self._producer.is_unsure
            if not unsure:
                self._share_letters()
                self._hand_over()
                self._is_begun = False
                self._take_sealed()
                self._number += 1
            records, epoch, session = self._in_flight, self._epoch, self._session
            offsets, self._dirty = self._offsets(), unsure
        start = self._now()
        if unsure:
            outcome = self._producer.make_sure(records, list(offsets), deadline)
        else:
            mark = (self._owner, self._number)
            outcome = self._producer.run(records, offsets, session, mark, deadline)
        with self._changed:
            self._book(outcome, records, epoch, self._now() - start)
            if outcome.committed and not unsure:
                self.committed_epoch = epoch
                extra = self._extra.items()
                self._extra = {at: place for at, place in extra if offsets[at] != place}
                is_owner = self._session is not None and epoch == self._epoch
                self._is_begun = is_owner and deadline is None and self._producer.begin()
        if outcome.pause_s:
            time.sleep(outcome.pause_s)
        return outcome.committed

    def _hand_over(self) -> None:
        """Put sealed records into the transaction that has begun; the caller holds `_changed`."""
        if self._is_begun and self._sealed:
            self._producer.produce(self._sealed)
            self._take_sealed()

    def _share_letters(self) -> None:
        """Seal the range letters of rejected records; the caller holds `_changed`."""
        letters = self._rejections.letters()
        self._sealed += letters
        self._sealed_bytes += outgoing_bytes(letters)
        self._statistics.dead_letters += len(letters)

    def _take_sealed(self) -> None:
        self._in_flight += self._sealed
        self._in_flight_bytes += self._sealed_bytes
        self._sealed, self._sealed_bytes = [], 0

    def _offsets(self) -> dict[TopicPartition, tuple[int, str]]:
        # Every owned partition, moved or not: a transaction without offsets fences no former owner.
        marks = {
            at: encode_mark(CommitMark(self._owner, self._number, notes))
            for at, notes in self._notes.sealed.items()
            if notes
        }
        plain, shards = encode_mark(CommitMark(self._owner, self._number)), self._shards
        if self.committed_epoch == self._epoch:
            shards = [at for at in shards if at in marks or at == shards[0]]
        positions = {**self._positions, **dict.fromkeys(shards, 0)}
        return self._extra | {
            at: (offset, marks.get(at, plain)) for at, offset in positions.items()
        }

    def _book(self, outcome: Outcome, records: list[Outgoing], epoch: int, seconds: float) -> None:
        self.trouble = outcome.trouble
        self._statistics.dead_letters += outcome.dead_letters
        if outcome.committed:
            self._statistics.commit_seconds.append(seconds)
            self._statistics.records += len(records)
            self._in_flight, self._in_flight_bytes = [], 0
        else:
            self._statistics.aborts += 1
            # If an assignment came meanwhile, it has dropped the records already.
            self._in_flight = outcome.records if epoch == self._epoch else self._in_flight
            self._in_flight_bytes = outgoing_bytes(self._in_flight)
            self._dirty = self._session is not None
            if outcome.is_expelled and epoch == self._epoch:
                self._session = None
        if self._rejections.waiting_bytes:
            self._rejections.count_waiting(chain(self._sealed, self._in_flight))

    def _drop(self, kept: set[TopicPartition]) -> None:
        """Forget records of partitions that are not kept; the caller holds `_changed`."""
        self._gathered = [record for record in self._gathered if record.owner in kept]
        self._in_flight = [record for record in self._in_flight if record.owner in kept]
        self._sealed = [record for record in self._sealed if record.owner in kept]
        self._sealed_bytes = outgoing_bytes(self._sealed)
        self._in_flight_bytes = outgoing_bytes(self._in_flight)
        left = chain(self._gathered, self._sealed, self._in_flight)
        self._rejections.keep(kept, left)


class CommitNotes:
    """Notes: short texts that stand beside the offset of a partition.

    `sealed` has by partition what the next commit writes; gathered notes wait for `seal`.
    """

    def __init__(self) -> None:
        self.sealed: dict[TopicPartition, dict[str, str]] = {}
        self._gathered: dict[TopicPartition, dict[str, str]] = {}

    @property
    def are_gathered(self) -> bool:
        """True while gathered notes wait for `seal`."""
        return bool(self._gathered)

    def gather(self, at: TopicPartition, name: str, text: str) -> None:
        """Gather a note; an empty text removes it.

        Raises `ValueError`: the notes of the partition would take more than the broker allows.
        """
        gathered = {**self._gathered.get(at, {}), name: text}
        size = len(encode_mark(CommitMark(notes=self._with(at, gathered))).encode())
        if size > MAX_MARK_BYTES:
            raise ValueError(f"the notes of {at.topic}[{at.partition}] take {size} bytes: too many")
        self._gathered[at] = gathered

    def seal(self) -> None:
        """Let the next commits write the gathered notes."""
        gathered, self._gathered = self._gathered, {}
        self.add(gathered)

    def add(self, notes: Notes) -> None:
        """Let the next commits write these notes, too."""
        for at, some in notes.items():
            self.sealed[at] = self._with(at, some)

    def assign(self, kept: Collection[TopicPartition], notes: Notes) -> None:
        """Begin with committed notes; gathered notes stay where their partition is `kept`."""
        self.sealed = {at: dict(some) for at, some in notes.items()}
        self._gathered = {at: some for at, some in self._gathered.items() if at in kept}

    def _with(self, at: TopicPartition, some: Mapping[str, str]) -> dict[str, str]:
        notes = {**self.sealed.get(at, {}), **some}
        return {name: text for name, text in notes.items() if text}
