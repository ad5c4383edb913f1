"""Dead letters of `signals.*` and `overrides`: one for each bad record, however often it is read.

The worker that ranks writes them.  A restore finds old bad records again, and some that came while
nobody ranked; the time of the last one that has a dead letter tells them apart.  Overrides have a
time of their own: they are read ahead of signals.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.dead_letters import TOPIC, DeadLetter
from feedmill.streams.kafka.range_letters import letter_of
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.stages.ranking_claim import RANKING_PARTITION
from feedmill.streams.stages.step import StepContext, Writer

# Kept while nobody ranks, or it is not known yet whether they have dead letters: the newest.
KEPT_BYTES = 16 * 1024 * 1024
_NEVER = -1


class RankingLetters:
    """Writes a dead letter for each rejected record, once this worker ranks.

    Beside the offset of `posts[0]` the worker commits the notes ``<stage>.letters`` and
    ``<stage>.letters_of_overrides``: the timestamp of the newest record of signals, and of
    overrides, that has a dead letter.
    """

    def __init__(self, stage: str, context: StepContext) -> None:
        self._stage = stage
        self._note = f"{stage}.letters"
        self._note_of_overrides = f"{stage}.letters_of_overrides"
        self._context = context
        self._ranks = False
        # By note.
        self._until_ms: dict[str, int] = {}
        self._noted_ms: dict[str, int] = {}
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0

    def assigned(self, change: AssignmentChange) -> None:
        """Learn which records have dead letters, where the ranking comes to this worker."""
        if RANKING_PARTITION in change.kept:
            return
        self._ranks = False
        if RANKING_PARTITION in change.gained:
            found = change.notes.get(RANKING_PARTITION, {})
            self._until_ms = {
                note: int(found[note])
                for note in (self._note, self._note_of_overrides)
                if re.fullmatch(r"\d+", found.get(note, ""))
            }
            self._noted_ms = self._until_ms.copy()

    def claimed(self, writer: Writer) -> None:
        """Write what came while nobody ranked: from here on this worker does."""
        self._ranks = True
        done_ms, waiting = self._until_ms.copy(), self._waiting
        self._waiting, self._bytes = deque(), 0
        for one in waiting:
            if one.at_ms > done_ms.get(one.note, _NEVER):
                self._write(one, writer)

    def reject(self, rejected: Iterable[RejectedRecord], writer: Writer) -> None:
        """Take records that break the contract; those of `posts` are another stage's."""
        for one in rejected:
            self._context.metrics.add("feedmill_rejected_total", topic=one.source.topic)
            if one.source.topic == "posts":
                continue
            is_override = one.source.topic == "overrides"
            note = self._note_of_overrides if is_override else self._note
            letter = letter_of(one, self._stage, self._context.clock.now_ms())
            waiting = _Waiting(note, one.record.timestamp, letter)
            if self._ranks:
                self._write(waiting, writer)
            else:
                self._keep(waiting)

    def follow(self, writer: Writer) -> None:
        """Note what was written; called in every cycle, before anything is added.

        So a note is never committed ahead of the dead letters that it stands for.
        """
        if not self._ranks or self._until_ms == self._noted_ms:
            return
        for note, at_ms in self._until_ms.items():
            if at_ms > self._noted_ms.get(note, _NEVER):
                self._noted_ms[note] = at_ms
                writer.note(RANKING_PARTITION, note, str(at_ms))

    def _write(self, one: _Waiting, writer: Writer) -> None:
        self._until_ms[one.note] = max(self._until_ms.get(one.note, _NEVER), one.at_ms)
        letter = one.letter
        self._context.metrics.add("feedmill_letters_total")
        writer.add(
            TOPIC,
            letter.key,
            letter.value,
            owner=RANKING_PARTITION,
            partition=0,
            headers=letter.headers,
        )

    def _keep(self, one: _Waiting) -> None:
        self._waiting.append(one)
        self._bytes += _size(one.letter)
        while self._bytes > KEPT_BYTES:
            self._bytes -= _size(self._waiting.popleft().letter)


@dataclass(frozen=True)
class _Waiting:
    """A dead letter, the time of its record, and the note that tells whether it was written."""

    note: str
    at_ms: int
    letter: DeadLetter


def _size(letter: DeadLetter) -> int:
    return len(letter.key or b"") + len(letter.value or b"") + 1024
