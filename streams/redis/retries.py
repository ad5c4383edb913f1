"""What could not be written, and when each of it is to be written again."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 5.0
# An entry that was handed out and never written again: its feed or post is another's by now.
FORGOTTEN_AFTER_S: Final = 60.0


@dataclass
class _Retry:
    attempts: int
    due_s: float
    handed_out: bool = False


class RetrySchedule:
    """The names that failed, each with its own back-off.  Times are seconds of one clock.

    A name stays from its first failure until `succeeded`, whether or not it was handed out.
    """

    def __init__(self) -> None:
        self._retries: dict[str, _Retry] = {}
        self._events: list[tuple[float, str]] = []

    def __contains__(self, name: str) -> bool:
        return name in self._retries

    def __len__(self) -> int:
        return len(self._retries)

    def failed(self, name: str, now_s: float, *, at_once: bool = False) -> None:
        """Have a name handed out again: later after every failure, or `at_once`."""
        before = self._retries.get(name)
        attempts = 0 if before is None else before.attempts
        wait_s = 0.0 if at_once else min(FIRST_RETRY_S * 2.0**attempts, LAST_RETRY_S)
        due_s = now_s + wait_s
        self._retries[name] = _Retry(attempts if at_once else min(attempts + 1, 16), due_s)
        heapq.heappush(self._events, (due_s, name))

    def succeeded(self, name: str) -> None:
        """Forget a name that was written, or that nobody needs to write any more."""
        self._retries.pop(name, None)

    def take_due(self, now_s: float) -> list[str]:
        """The names to write again now; each failure is handed out once."""
        due = []
        while self._events and self._events[0][0] <= now_s:
            at_s, name = heapq.heappop(self._events)
            retry = self._retries.get(name)
            if retry is None:
                continue
            if not retry.handed_out and at_s == retry.due_s:
                retry.handed_out = True
                due.append(name)
                heapq.heappush(self._events, (at_s + FORGOTTEN_AFTER_S, name))
            elif retry.handed_out and at_s == retry.due_s + FORGOTTEN_AFTER_S:
                del self._retries[name]
        return due

    def next_s(self) -> float:
        """When to call `take_due` again at the latest; infinity where nothing failed."""
        return self._events[0][0] if self._events else float("inf")

    def clear(self) -> None:
        """Forget everything."""
        self._retries.clear()
        self._events.clear()
