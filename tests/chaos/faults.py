"""Signals to workers: at a moment, or where a worker comes to a point of its loop."""

from pathlib import Path

from builders.engine import Worker
from builders.fault_engine import FaultEngine
from builders.waiting import until

_FOLDER = Path(__file__).parent / "fault_points"


class FaultPoints:
    """The fault points of one worker; start it with `variables`."""

    def __init__(self, engine: FaultEngine, name: str) -> None:
        self._file = engine.folder / f"fault-of-{name}"
        self.variables = {"PYTHONPATH": str(_FOLDER), "CHAOS_FAULT": str(self._file)}

    def arm(self, signal_name: str, point: str) -> None:
        """Have the worker send itself the signal where it comes to the point next."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{signal_name} {point}", "utf-8")
        new.replace(self._file)

    def wait_struck(self, seconds: float = 30.0) -> None:
        """Wait until it has come there."""
        until(lambda: not self._file.exists(), seconds, every=0.01)


def wait_ended(worker: Worker) -> None:
    """Wait until a worker that was killed has ended."""
    until(lambda: worker.process.poll() is not None)
