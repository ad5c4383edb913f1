"""Ends a process whose loop stands still, since the Kafka client goes on with its heartbeats."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

STALL_S = 30.0
EXIT_STALLED = 3
# The thread looks every second; after a longer gap the whole process was paused.
_PAUSED_S = 10.0
# How many times `stall_s` of processor time the process may take while no Python code runs.
_WITHOUT_PYTHON = 1.5


class Watchdog:
    """A thread that looks once a second; `turn` is to be called in every cycle."""

    def __init__(self, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        self._turned_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self.turn()
        # Prints where all threads are; then the signal ends the process.
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self._limit_processor_time()
        self._thread.start()

    def turn(self) -> None:
        """Note that the loop has begun another cycle."""
        self._turned_at = time.monotonic()

    def stuck_s(self) -> float:
        """Return how long ago the loop began its last cycle."""
        return time.monotonic() - self._turned_at

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        looked_at = time.monotonic()
        while not self._stopped.wait(1.0):
            before, looked_at = looked_at, time.monotonic()
            if looked_at - before > _PAUSED_S:
                # The whole process was paused, not its loop alone.
                self.turn()
            self._limit_processor_time()
            if self.stuck_s() > self._stall_s:
                log.critical("the loop has stood still for %.0f s: ending", self.stuck_s())
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_STALLED)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _limit_processor_time(self) -> None:
        """End the process by SIGPROF unless this is called again in time.

        Native code that holds the interpreter lock, as `re` does, keeps this thread from looking.
        Such code takes processor time; a process that is paused takes none.
        """
        signal.setitimer(signal.ITIMER_PROF, _WITHOUT_PYTHON * self._stall_s)


@contextmanager
def ends_within(seconds: float, code: int) -> Iterator[None]:
    """End the process with an exit code if the block takes longer."""

    def end() -> None:
        log.warning("the stop took longer than %.0f s: ending", seconds)
        os._exit(code)

    deadline = threading.Timer(seconds, end)
    deadline.daemon = True
    deadline.start()
    yield
    deadline.cancel()
