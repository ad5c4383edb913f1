"""Loads versions of models and lists on a thread, while the worker's loop goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Content = TypeVar("Content")


class BackgroundLoads(Generic[Key, Content]):
    """What is being loaded, at most once for each key; belongs to the loop's thread.

    `thread_name` is that of the thread, on which all loads run one after another.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=thread_name)
        self._loads: dict[Key, tuple[int, Future[Content]]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._loads

    def __len__(self) -> int:
        return len(self._loads)

    def keys(self) -> set[Key]:
        """Return the keys of what is being loaded."""
        return set(self._loads)

    def begin(self, key: Key, offset: int, load: Callable[[], Content]) -> None:
        """Have the thread load what the record at an offset is about; `load` raises nothing."""
        self._loads[key] = offset, self._thread.submit(load)

    def take_done(self) -> list[tuple[Key, int, Content]]:
        """Take out what is loaded: key, offset and result of each, in the order of `begin`."""
        done = []
        for key, (offset, future) in self._loads.items():
            if not future.done():
                break
            done.append((key, offset, future.result()))
        for key, _, _ in done:
            del self._loads[key]
        return done

    def dealt_with(self, offset: int, is_about: Callable[[Key], bool]) -> int:
        """Return the last record up to `offset` behind which nothing of these keys is loading."""
        first = [begun - 1 for key, (begun, _) in self._loads.items() if is_about(key)]
        return min([offset, *first])

    def close(self) -> None:
        """Begin nothing more; do not wait for what is being loaded."""
        self._thread.shutdown(wait=False, cancel_futures=True)
