"""What a result was measured on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")


class Stolen:
    """What part of one processor the host of a virtual machine gave to others since the start.

    What is measured while much is stolen says little: a worker's p50 doubled with a fifth of one.
    """

    def __init__(self) -> None:
        self._before_s, self._start = _stolen_seconds(), time.perf_counter()

    def share(self) -> float:
        """Return it; 0 where the system does not say."""
        return (_stolen_seconds() - self._before_s) / (time.perf_counter() - self._start)


def describe() -> str:
    """One line: processors, Python, numpy, and how busy the machine is."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), Python {platform.python_version()},"
        f" numpy {np.__version__}, load {load:.1f}"
    )


def _stolen_seconds() -> float:
    try:
        first, *_ = Path("/proc/stat").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return int(first.split()[8]) / _TICKS
