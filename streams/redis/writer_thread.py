"""The Redis writer: a thread of its own, so that a Redis that is slow or away never holds the loop.

    submit ──► queue ──► thread ──► report ──► poll

Loop and thread share one interpreter: the thread begins when the loop is about to wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Set as AbstractSet
from typing import Final

from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.redis.pipelines import Pipeline
from feedmill.streams.redis.write_batch import FinishedBatch, WriteBatch, WriteReport

log = logging.getLogger(__name__)

# So many batches may wait beside the one that is being written: what waits is older than what
# the loop could submit instead.
MOST_WAITING: Final = 2
FIRST_PROBE_S: Final = 0.05
LAST_PROBE_S: Final = 0.5


class WriterThread:
    """Writes batches in the order in which they were submitted, and reports what became of them.

    `submit`, `begin`, `poll`, `own`, `is_idle` and `trouble` are for the loop's thread, `begin` and
    `poll` for each of its cycles.  None of them waits for Redis.
    While Redis takes no writes, the batches that were submitted stay queued and `submit` returns
    False, so the loop keeps the newest state of what it could not submit and merges what changes
    meanwhile: one pending change of each feed and post, not a growing list.  `poll` says what of
    the submitted changes must be written again.

    Parameters
    ----------
    pipeline
        See `open_pipeline`.  Nobody else uses it, until `stop` has returned.
    """

    def __init__(self, pipeline: Pipeline, prefix: str) -> None:
        self._writer = BatchWriter(pipeline, prefix)
        self._changed = threading.Condition()
        self._queue: deque[WriteBatch] = deque()
        self._report: WriteReport | None = None
        self._is_busy = False
        self._shards: AbstractSet[int] | None = None  # to look after from now on
        self._given_up: set[int] = set()
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._probe_s = 0.0
        self._thread = threading.Thread(target=self._run, name="redis-writer", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects at once."""
        self._thread.start()

    def submit(self, batch: WriteBatch) -> bool:
        """Queue a batch, which `begin` or `wait_idle` has written; False if the queue is full.

        Raises
        ------
        RuntimeError
            The thread has ended by an error of its own (Redis' errors are reported instead).
        """
        self._raise_failure()
        with self._changed:
            if not self.has_room:
                return False
            self._queue.append(batch)
            return True

    def begin(self) -> None:
        """Have the thread write what was submitted.

        Called when the loop is about to wait for input: before, the thread would only take the
        interpreter from the loop.
        """
        if self._queue:
            with self._changed:
                self._changed.notify_all()

    def poll(self) -> WriteReport | None:
        """What happened since the last call, None if nothing did; raises as `submit` does."""
        self._raise_failure()
        if self._report is None:
            return None
        with self._changed:
            report, self._report = self._report, None
            return report

    def own(self, shards: AbstractSet[int], given_up: AbstractSet[int]) -> None:
        """Write what is queued, then look after the index of the feeds of these shards.

        A later report says which of their feeds exist in Redis.  `given_up` are shards that another
        owner may have had since the last call.
        """
        with self._changed:
            self._shards = shards
            self._given_up |= given_up
            self._changed.notify_all()

    @property
    def has_room(self) -> bool:
        """Whether `submit` would take a batch."""
        return len(self._queue) < MOST_WAITING and not self._is_stopping

    @property
    def is_idle(self) -> bool:
        """Whether all that was submitted was dealt with; failed changes may have to wait."""
        with self._changed:
            return not (self._queue or self._is_busy)

    def wait_idle(self, timeout_s: float) -> None:
        """Wait until `is_idle`, or for so long, and leave the interpreter to the thread."""
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._queue or self._is_busy), timeout_s)

    @property
    def trouble(self) -> str:
        """Why Redis takes no writes, or none that need memory, for people; "" while it does."""
        return self._writer.trouble or self._writer.shortage

    @property
    def refusal(self) -> str:
        """What the user may not do in Redis, for people; "" while it may do all that was asked."""
        return self._writer.refusal

    def stop(self, timeout_s: float) -> bool:
        """Write what is queued unless Redis is away, disconnect and end; whether it has ended.

        Waits for at most `timeout_s`; a thread that has not ended by then ends with the process.
        """
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._go_on():
                pass
            self._writer.close()
        except BaseException as error:
            log.exception("the Redis writer ended")
            with self._changed:
                self._failure = error

    def _go_on(self) -> bool:
        report, before = WriteReport(), self._writer.trouble
        is_going_on = self._probe(report) if before else self._work(report)
        self._hand_over(report, before)
        return is_going_on

    def _probe(self, report: WriteReport) -> bool:
        """Wait a moment, then look whether Redis takes writes; return False at a stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, self._probe_s)
            if self._is_stopping:
                return False
        self._probe_s = min(max(2 * self._probe_s, FIRST_PROBE_S), LAST_PROBE_S)
        if self._writer.probe(report):
            self._probe_s = 0.0
        return True

    def _work(self, report: WriteReport) -> bool:
        batch = self._take()
        if batch is not None:
            unwritten = self._writer.write(batch, report)
            report.finished.append(FinishedBatch(batch, time.monotonic(), unwritten))
        else:
            self._own()
        if not self._writer.trouble and self._writer.next_s() <= time.monotonic():
            self._writer.tend(report)
        return batch is not None or not self._is_stopping

    def _take(self) -> WriteBatch | None:
        """The next batch, once there is one, or None when something else is to be done."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._queue or self._is_stopping or self._shards is not None,
                max(self._writer.next_s() - time.monotonic(), 0.0),
            )
            self._is_busy = bool(self._queue)
            return self._queue.popleft() if self._queue else None

    def _own(self) -> None:
        with self._changed:
            (shards, self._shards), given_up = (self._shards, None), self._given_up
            self._given_up = set()
        if shards is not None:
            self._writer.own(shards, given_up)

    def _hand_over(self, report: WriteReport, trouble_before: str) -> None:
        trouble = self._writer.trouble
        if trouble != trouble_before:
            log.log(logging.WARNING if trouble else logging.INFO, "%s", trouble or "Redis: writing")
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            if self._report is not None:
                self._report.add(report)
            else:
                self._report = report

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the Redis writer has ended") from self._failure
