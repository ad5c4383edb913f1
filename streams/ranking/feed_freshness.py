"""Whether a feed may count as fresh, all that it depends on being judged; and when to renew it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from math import ceil

from feedmill.events.gates import GatePolicy
from feedmill.events.instance import Instance
from feedmill.events.signal import stage_of
from feedmill.events.weights import Weights
from feedmill.rankers.combiner import FeedChange, arm_list

# Two heartbeats, and a while.
SEEN_WITHIN_MS = 12_000
# What each stage reads.
_READS = {"engagement": ("posts", "engagements")}
_POSTS = ("posts",)
# How long after it was written a feed is renewed, and how often such feeds are looked for.
RENEW_S = 5.0
LOOK_EVERY_S = 0.2
# How many feeds are renewed at a time at least, and within what time all are.
_LEAST_AT_ONCE = 25
_ROUND_S = 2.5


class FeedFreshness:
    """Follows the heartbeats of all stages; how old they are, their broker's stamps say.

    A stage is up to date if ready workers have read each partition of its topics up to 5 s ago.  A
    signal of a program that is no worker is, while no post lacks it: its heartbeats only inform.

    Parameters
    ----------
    instance
        The name of the worker that ranks, which must be ready itself.
    own
        The signals that programs write which are no workers.
    """

    def __init__(self, partitions: int, instance: str, own: Collection[str] = ()) -> None:
        self._partitions = partitions
        self._instance = instance
        self._own = frozenset(own)
        self._seen: dict[tuple[str, str], tuple[int, Instance]] = {}
        # The broker's time at 0 of the monotonic clock, by the last heartbeat.
        self._base_ms = 0.0
        self._fresh: set[str] = set()
        self._ranks = False

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat, stamped by the broker; one without a group is not that of a worker."""
        if instance.group:
            self._seen[instance.stage, instance.instance] = at_ms, instance
        self._base_ms = at_ms - time.monotonic() * 1000

    def look(self, lacking: Collection[str] = ()) -> bool:
        """Find which stages are up to date; whether one is that was not.  Every second.

        `lacking` are signals of `own` that posts lack which came more than 5 s ago.
        """
        now_ms = self._base_ms + time.monotonic() * 1000
        # After a step back of the broker's clock the last heartbeats before it are ahead.
        self._seen = {
            name: seen
            for name, seen in self._seen.items()
            if abs(now_ms - seen[0]) <= SEEN_WITHIN_MS
        }
        before, ranked = self._fresh, self._ranks
        mine = self._seen.get(("combiner", self._instance))
        self._ranks = mine is not None and mine[1].ready
        judged = {stage for stage, _ in self._seen if not self.unread(stage)}
        self._fresh = judged.union(self._own) - self._own.intersection(lacking)
        return bool(self._fresh - before) or (self._ranks and not ranked)

    def unread(self, stage: str) -> Sequence[tuple[str, int]]:
        """Return the topics and partitions that no ready instance of a stage is up to date with."""
        of_stage = [seen for (name, _), (_, seen) in self._seen.items() if name == stage]
        ready = [seen for seen in of_stage if seen.ready]
        partitions = [at for seen in ready for at in seen.partitions if not at.late_ms]
        read = {(at.topic, at.partition) for at in partitions}
        topics = _READS.get(stage, _POSTS)
        return [(t, p) for t in topics for p in range(self._partitions) if (t, p) not in read]

    def is_fresh(self, change: FeedChange) -> bool:
        """Return whether a list may count as fresh for another while."""
        return self._ranks and self.is_judged(change.gates, change.weights)

    def is_judged(self, gates: Mapping[str, GatePolicy], weights: Weights) -> bool:
        """Return whether every stage behind these gates and weights is up to date."""
        return self._fresh.issuperset(_stages(gates, weights))

    def fresh_of(self, changes: Iterable[FeedChange]) -> tuple[set[str], set[str]]:
        """Return the lists that may count so, and the feeds of which all may."""
        lists, feeds = set[str](), set[str]()
        for change in changes:
            arms = {arm_list(change.feed, arm.feed) for arm in change.arms if self.is_fresh(arm)}
            lists |= arms
            if self.is_fresh(change):
                lists.add(change.feed)
                if len(arms) == len(change.arms):
                    feeds.add(change.feed)
        return lists, feeds


def _stages(gates: Mapping[str, GatePolicy], weights: Weights) -> list[str]:
    """Return the stages without which a feed grows stale."""
    required = [name for name, gate in gates.items() if gate.required]
    return [*required, *map(stage_of, weights.signals)]


class FeedRenewals:
    """Remembers when each feed was written last: not all are to be renewed at once.

    Seconds are those of a monotonic clock.

    Attributes
    ----------
    is_hurried
        Whether all are to be renewed, as fast as they can be written.
    """

    def __init__(self) -> None:
        self.is_hurried = False
        self._written_s: dict[str, float] = {}

    def written(self, feeds: Iterable[str], now_s: float) -> None:
        """Note that these were written, renewed or not."""
        self._written_s.update(dict.fromkeys(feeds, now_s))

    def hurry(self) -> None:
        """Have all feeds be due at once."""
        self.is_hurried = True
        self._written_s.clear()

    def due(self, feeds: Collection[str], now_s: float) -> list[str]:
        """Return those of all `feeds` that are to be renewed now.

        To be called every `LOOK_EVERY_S`, and after `hurry` until that is over.
        """
        written_s, before_s = self._written_s, now_s - RENEW_S
        if len(written_s) > len(feeds):
            self._written_s = written_s = {f: written_s[f] for f in feeds if f in written_s}
        due = (feed for feed in feeds if written_s.get(feed, 0.0) <= before_s)
        most = max(_LEAST_AT_ONCE, ceil(len(feeds) * LOOK_EVERY_S / _ROUND_S))
        found = list(islice(due, most))
        self.is_hurried = self.is_hurried and len(found) == most
        return found
