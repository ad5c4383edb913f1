"""What pages show alike: made once for all that ask within a moment, also the refusal of it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_MOST_KEPT = 256


@dataclass
class _Kept:
    made_s: float = float("-inf")
    value: Any = None
    error: Exception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Shared:
    """Keeps what was made last, by key.  Any thread may ask."""

    def __init__(self, _: object) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def get(self, key: Hashable, fresh_s: float, make: Callable[[], T]) -> T:
        """Return what `make` returned in the last `fresh_s` seconds, or raise what it raised."""
        kept = self._of(key)
        with kept.lock:
            if time.monotonic() > kept.made_s + fresh_s:
                try:
                    kept.value, kept.error = make(), None
                except Exception as error:  # noqa: BLE001 - those who wait for it get it, too
                    kept.error = error
                kept.made_s = time.monotonic()
            if kept.error is not None:
                raise kept.error.with_traceback(None)
            value: T = kept.value
        return value

    def last(self, key: Hashable) -> Any:
        """Return what was made last, however long ago; None for nothing."""
        return self._of(key).value

    def _of(self, key: Hashable) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return kept

    def close(self) -> None:
        """Nothing is open."""
