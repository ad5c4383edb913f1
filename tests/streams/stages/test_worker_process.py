"""What a worker has in memory before its loop begins."""

from __future__ import annotations

import subprocess
import sys

_CALLS = """
import sys
import numpy as np
import feedmill.streams.stages.worker_process
before = set(sys.modules)
np.unique(np.array([2, 1]))
print(*set(sys.modules) - before)
"""


def test_the_first_call_of_unique_imports_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CALLS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
