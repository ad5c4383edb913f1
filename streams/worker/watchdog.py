"""Ends a process whose loop stands still: heartbeats of the Kafka client go on without it."""

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
# This thread looks every second, however busy the machine is.
_PAUSED_S = 10.0
# How many times as much processor time a process may take meanwhile in which no Python runs.
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
        # Says where all threads are, then ends the process, as the signal does of itself.
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self._limit_processor_time()
        self._thread.start()

    def turn(self) -> None:
        """Say that the loop goes round."""
        self._turned_at = time.monotonic()

    def stuck_s(self) -> float:
        """Return how long it has not gone round."""
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

        Native code that keeps the interpreter, as `re` does, keeps the thread from looking, even
        for the first time.  It takes processor time; a process that is paused takes none.
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
