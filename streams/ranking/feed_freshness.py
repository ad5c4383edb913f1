"""Whether a feed may count as fresh: all that it depends on is read, and judged."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from feedmill.events.instance import Instance
from feedmill.rankers.combiner import FeedChange

# Two heartbeats, and a while.
SEEN_WITHIN_MS = 12_000
# What each stage reads; programs of others say nothing of it.
_READS = {"engagement": ("posts", "engagements")}
_POSTS = ("posts",)


class FeedFreshness:
    """Follows the heartbeats of all stages; how old they are, their broker's stamps say.

    A stage is up to date if its ready instances have read each partition of its topics up to 5 s
    ago.  Of a program that is no worker it is enough that an instance is ready.

    Parameters
    ----------
    partitions
        How many partitions `posts` and `engagements` have.
    instance
        The name of the worker that ranks, which must be ready itself.
    """

    def __init__(self, partitions: int, instance: str) -> None:
        self._partitions = partitions
        self._instance = instance
        self._seen: dict[tuple[str, str], tuple[int, Instance]] = {}
        # The broker's time at 0 of the monotonic clock, by the last heartbeat.
        self._base_ms = 0.0
        self._fresh: set[str] = set()
        self._ranks = False

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat, stamped by the broker."""
        self._seen[instance.stage, instance.instance] = at_ms, instance
        self._base_ms = at_ms - time.monotonic() * 1000

    def look(self, lacking: Collection[str] = ()) -> bool:
        """Find which stages are up to date; whether one is that was not.  Every second.

        `lacking` are stages whose signals posts lack that came more than 5 s ago.
        """
        now_ms = self._base_ms + time.monotonic() * 1000
        # After a step back of the broker's clock the last ones before it are ahead.
        self._seen = {
            name: seen
            for name, seen in self._seen.items()
            if abs(now_ms - seen[0]) <= SEEN_WITHIN_MS
        }
        before, ranked = self._fresh, self._ranks
        mine = self._seen.get(("combiner", self._instance))
        self._ranks = mine is not None and mine[1].ready
        stages = {stage for stage, _ in self._seen}.difference(lacking)
        self._fresh = {stage for stage in stages if not self.unread(stage)}
        return bool(self._fresh - before) or (self._ranks and not ranked)

    def unread(self, stage: str) -> Sequence[tuple[str, int]]:
        """Return the topics and partitions that no ready instance of a stage is up to date with."""
        ready = [one for (name, _), (_, one) in self._seen.items() if name == stage and one.ready]
        if any(not one.group for one in ready):
            return []
        partitions = [at for one in ready for at in one.partitions if not at.late_ms]
        read = {(at.topic, at.partition) for at in partitions}
        topics = _READS.get(stage, _POSTS)
        return [(t, p) for t in topics for p in range(self._partitions) if (t, p) not in read]

    def is_fresh(self, change: FeedChange) -> bool:
        """Return whether a feed may count as fresh for another while."""
        return self._ranks and self._fresh.issuperset(stages_behind(change))


def stages_behind(change: FeedChange) -> list[str]:
    """Return the stages without which a feed grows stale."""
    gates = [name for name, gate in change.gates.items() if gate.required]
    return gates + [name for name, weight in change.weights.objectives.items() if weight]
