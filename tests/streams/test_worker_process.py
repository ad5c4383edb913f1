"""What a worker has in memory before its loop begins, and how its process ends."""

import faulthandler
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from feedmill.events.errors import BadArtifact, StoreAway, UsageError
from feedmill.streams import worker_process
from feedmill.streams.environment import Environment
from feedmill.streams.observe.status import STATUS_FD, decode
from feedmill.streams.worker_process import CANNOT_START, FAILED, run_worker

_CALLS = """
import sys
import numpy as np
import feedmill.streams.worker_process
before = set(sys.modules)
np.unique(np.array([2, 1]))
print(*set(sys.modules) - before)
"""


def test_the_first_call_of_unique_imports_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CALLS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadArtifact("the file was altered"), CANNOT_START, "the file was altered"),
        # These may be otherwise at the next start.
        (StoreAway("the store does not answer"), FAILED, "the store does not answer"),
        (UsageError("there is no topic `posts`"), FAILED, "there is no topic `posts`"),
        (ValueError("odd"), FAILED, "ValueError: odd"),
    ],
)
def test_a_worker_that_fails_says_why_and_whether_to_start_it_again(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    reading, writing = os.pipe()
    monkeypatch.setattr(worker_process, "new_worker", fail)
    # What a process of its own may change, this one may not.
    monkeypatch.setattr(worker_process, "keep_heap_small", lambda: None)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(faulthandler, "register", lambda *_, **__: None)
    monkeypatch.setenv(STATUS_FD, str(writing))
    assert run_worker((), Environment()) == code
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        status = decode(pipe.readline())
    assert (status.error, status.not_ready) == (said, said)
