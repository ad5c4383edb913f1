"""The most memory that any worker of an engine took, also of those that were killed."""

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from builders.engine import Engine
from builders.waiting import in_background

_EVERY_S = 0.25


def memory_mb(pid: int, kind: str = "VmHWM") -> float:
    """The most memory that a process took, or as VmRSS what it has; 0 of one that ended."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/status").read_text("utf-8")
        if found := re.search(rf"{kind}:\s+(\d+) kB", text):
            return int(found[1]) / 1024
    return 0.0


class PeakMemory:
    """Reads the kernel's own peak of each process, some times a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._peak_mb = 0.0

    @property
    def mb(self) -> float:
        """The peak until now, in MB."""
        self._look()
        return self._peak_mb

    def watch(self, stop: threading.Event) -> None:
        """Look until the event is set."""
        while not stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        for worker in tuple(self._engine.workers.values()):
            self._peak_mb = max(self._peak_mb, memory_mb(worker.pid))


@contextlib.contextmanager
def peak_memory(engine: Engine) -> Iterator[PeakMemory]:
    """Watch the workers of an engine during a block."""
    memory = PeakMemory(engine)
    with in_background(memory.watch):
        yield memory
