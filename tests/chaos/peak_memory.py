"""The most memory that any worker of an engine took, also of those that were killed."""

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from builders.engine import Engine
from builders.waiting import in_background

_EVERY_S = 0.25
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


class PeakMemory:
    """Reads the kernel's own peak of each process, some times a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._peak_kb = 0

    @property
    def mb(self) -> float:
        """The peak until now, in MB."""
        self._look()
        return self._peak_kb / 1024

    def watch(self, stop: threading.Event) -> None:
        """Look until the event is set."""
        while not stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        for worker in tuple(self._engine.workers.values()):
            with contextlib.suppress(OSError):
                found = _PEAK.search(Path(f"/proc/{worker.pid}/status").read_text("utf-8"))
                self._peak_kb = max(self._peak_kb, int(found[1]) if found else 0)


@contextlib.contextmanager
def peak_memory(engine: Engine) -> Iterator[PeakMemory]:
    """Watch the workers of an engine during a block."""
    memory = PeakMemory(engine)
    with in_background(memory.watch):
        yield memory
