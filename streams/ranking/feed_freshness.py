"""Whether a feed may count as fresh: its inputs are read, and the stages behind it are alive."""

from __future__ import annotations

from feedmill.events.instance import Instance
from feedmill.rankers.combiner import FeedChange

BEHIND_MS = 5_000
SEEN_WITHIN_MS = 15_000


class FeedFreshness:
    """Follows heartbeats and the age of what was read last; times are those of the log."""

    def __init__(self) -> None:
        self._ready_at_ms: dict[str, int] = {}
        self._behind_at_ms = 0

    def heartbeat(self, instance: Instance, at_ms: int) -> bool:
        """Take a heartbeat; return whether a stage is ready that was not, or was too long ago."""
        if not instance.ready:
            return False
        before = self._ready_at_ms.get(instance.stage, 0)
        self._ready_at_ms[instance.stage] = max(before, at_ms)
        return before + SEEN_WITHIN_MS < at_ms

    def read(self, newest_ms: int, now_ms: int) -> None:
        """Note the timestamp of the newest record of a cycle."""
        if newest_ms < now_ms - BEHIND_MS:
            self._behind_at_ms = now_ms

    def is_fresh(self, change: FeedChange, now_ms: int) -> bool:
        """Return whether a feed may count as fresh for another while."""
        # A worker that is behind reads old records in every cycle.
        if self._behind_at_ms > now_ms - 1_000:
            return False
        since = now_ms - SEEN_WITHIN_MS
        return all(self._ready_at_ms.get(name, 0) >= since for name in stages_behind(change))


def stages_behind(change: FeedChange) -> list[str]:
    """Return the stages without which a feed grows stale."""
    gates = [name for name, gate in change.gates.items() if gate.required]
    return gates + [name for name, weight in change.weights.objectives.items() if weight]
