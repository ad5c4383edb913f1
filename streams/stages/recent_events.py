"""Which event ids of a partition repeat within ten minutes of record time."""

from __future__ import annotations

from collections import deque

from feedmill.events.engagement import Engagement

DEDUPLICATED_MS = 600_000


class RecentEvents:
    """Event ids of the last ten minutes of record time.

    An event repeats if the same id of the same post stands in the ten minutes before it;
    that follows from those ten minutes alone, so reading them again restores it exactly.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}
        self._order: deque[tuple[int, tuple[str, str]]] = deque()

    def __len__(self) -> int:
        return len(self._last)

    def repeats(self, event: Engagement, at_ms: int) -> bool:
        """Note an event by its record's timestamp; whether it repeats an earlier one."""
        if event.event_id is None:
            return False
        self._drop_before(at_ms - DEDUPLICATED_MS)
        key = (event.post_id, event.event_id)
        before = self._last.get(key)
        self._last[key] = at_ms
        self._order.append((at_ms, key))
        return before is not None and at_ms - before <= DEDUPLICATED_MS

    def _drop_before(self, cutoff_ms: int) -> None:
        while self._order and self._order[0][0] < cutoff_ms:
            at_ms, key = self._order.popleft()
            if self._last.get(key) == at_ms:
                del self._last[key]
