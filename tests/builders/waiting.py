"""Waiting for what other processes and threads do."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def now_ms() -> int:
    return int(time.time() * 1000)


def until(condition: Callable[[], Any], seconds: float = 30.0, every: float = 0.1) -> Any:
    """Wait until a condition holds and return its value; raise if it does not in time.

    Looks more often at first, then every so many seconds.
    """
    end, pause = time.monotonic() + seconds, every / 20
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            code = getattr(condition, "__code__", None)
            line = "" if code is None else f", line {code.co_firstlineno} of {code.co_filename}"
            raise AssertionError(f"not within {seconds} s: {condition}{line}, last {found!r}")
        time.sleep(pause)
        pause = min(every, 1.5 * pause)


@contextlib.contextmanager
def in_background(work: Callable[[threading.Event], Any]) -> Iterator[Future[Any]]:
    """Run `work` beside the block and set its event at the end; raises what it raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, stop)
        try:
            yield future
        finally:
            stop.set()
    future.result(60)
