"""Dead letters of `signals.*` and `overrides`: one for each bad record, however often it is read.

The worker that ranks writes them.  A restore finds old bad records again, and some that came while
nobody ranked; the time of the last one that has a dead letter tells them apart.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.dead_letters import TOPIC, DeadLetter, dead_letter
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.stages.ranking_claim import RANKING_PARTITION
from feedmill.streams.stages.step import StepContext, Writer

# Kept while nobody ranks, or it is not known yet whether they have dead letters: the newest.
KEPT_BYTES = 16 * 1024 * 1024
_NEVER = -1


class RankingLetters:
    """Writes a dead letter for each rejected record, once this worker ranks.

    Beside the offset of `posts[0]` the worker commits the note ``<stage>.letters``: the timestamp
    of the newest record that has a dead letter.
    """

    def __init__(self, stage: str, context: StepContext) -> None:
        self._stage = stage
        self._note = f"{stage}.letters"
        self._context = context
        self._ranks = False
        self._until_ms = _NEVER
        self._noted_ms = _NEVER
        self._waiting: deque[tuple[int, DeadLetter]] = deque()
        self._bytes = 0

    def assigned(self, change: AssignmentChange) -> None:
        """Learn which records have dead letters, where the ranking comes to this worker."""
        if RANKING_PARTITION in change.kept:
            return
        self._ranks = False
        if RANKING_PARTITION in change.gained:
            text = change.notes.get(RANKING_PARTITION, {}).get(self._note, "")
            self._until_ms = int(text) if re.fullmatch(r"\d+", text) else _NEVER
            self._noted_ms = self._until_ms

    def claimed(self, writer: Writer) -> None:
        """Write what came while nobody ranked: from here on this worker does."""
        self._ranks = True
        done_ms, waiting = self._until_ms, self._waiting
        self._waiting, self._bytes = deque(), 0
        for at_ms, letter in waiting:
            if at_ms > done_ms:
                self._write(at_ms, letter, writer)

    def reject(self, rejected: Iterable[RejectedRecord], writer: Writer) -> None:
        """Take records that break the contract; those of `posts` are another stage's."""
        for one in rejected:
            self._context.metrics.add("feedmill_rejected_total", topic=one.source.topic)
            if one.source.topic == "posts":
                continue
            at_ms = one.record.timestamp
            letter = dead_letter(one, self._stage, self._context.clock.now_ms())
            if self._ranks:
                self._write(at_ms, letter, writer)
            else:
                self._keep(at_ms, letter)

    def follow(self, writer: Writer) -> None:
        """Note what was written; called in every cycle, before anything is added.

        So a note is never committed ahead of the dead letters that it stands for.
        """
        if self._ranks and self._until_ms > self._noted_ms:
            self._noted_ms = self._until_ms
            writer.note(RANKING_PARTITION, self._note, str(self._noted_ms))

    def _write(self, at_ms: int, letter: DeadLetter, writer: Writer) -> None:
        self._until_ms = max(self._until_ms, at_ms)
        self._context.metrics.add("feedmill_letters_total")
        writer.add(
            TOPIC,
            letter.key,
            letter.value,
            owner=RANKING_PARTITION,
            partition=0,
            headers=letter.headers,
        )

    def _keep(self, at_ms: int, letter: DeadLetter) -> None:
        self._waiting.append((at_ms, letter))
        self._bytes += _size(letter)
        while self._bytes > KEPT_BYTES:
            self._bytes -= _size(self._waiting.popleft()[1])


def _size(letter: DeadLetter) -> int:
    return len(letter.key or b"") + len(letter.value or b"") + 1024
