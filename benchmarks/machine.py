"""What a result was measured on."""

from __future__ import annotations

import os
import platform

import numpy as np


def describe() -> str:
    """One line: processors, Python, numpy, and how busy the machine is."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), Python {platform.python_version()},"
        f" numpy {np.__version__}, load {load:.1f}"
    )
