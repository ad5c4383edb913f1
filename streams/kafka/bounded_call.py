"""Calls of the client that may never return, with a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CallIsStuck(Exception):
    """A call of the client did not return, its own timeout notwithstanding."""


def bounded(call: Callable[[], None], seconds: float) -> None:
    """Run a call of the client on a thread of its own, and leave it there if it hangs.

    After an outage of the broker librdkafka may never answer a transactional call.  The thread
    keeps the producer alive, which must not be used any more.

    Raises
    ------
    CallIsStuck
        It took longer than so many seconds.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="transaction call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise CallIsStuck
    if failures:
        raise failures[0]
