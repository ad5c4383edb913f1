"""Which other consumer groups run the same stages: heartbeats name some, and Kafka knows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future

from feedmill.events.instance import Instance
from feedmill.streams.flow import COMBINER
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.kafka.offsets import Offsets

log = logging.getLogger(__name__)

# While another group is there, and after a heartbeat that names one.
_ASK_EVERY_S, _ASK_AFTER_S = 5.0, 1.0


class OtherGroups:
    """Knows which other consumer groups run the stages of this one, too.

    It asks Kafka at its start, and when a heartbeat names another group.  Of two such groups the
    one whose name comes first goes on as if it were alone, and the other is not ready, and claims
    no feeds: so a process that somebody started by mistake takes none down.

    Parameters
    ----------
    judged_by
        Returns the stages by which workers of a group judge; none where no worker is in it.
    """

    def __init__(
        self,
        group: str,
        stages: Collection[str],
        judged_by: Callable[[str], Collection[str]],
        offsets: Offsets,
    ) -> None:
        self._group, self._stages, self._judged_by = group, stages, judged_by
        self._offsets = offsets
        # The stages that each of the others runs, too; None before Kafka's first answer.
        self._others: dict[str, list[str]] | None = None
        self._asked: Future[dict[str, set[str]]] | None = None
        self._ask_at = 0.0

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Have Kafka asked soon where a heartbeat names another group of workers."""
        if instance.stage in self._stages and self._is_other(instance.group):
            self._ask_at = min(self._ask_at, time.monotonic() + _ASK_AFTER_S)

    def follow(self) -> None:
        """Ask Kafka, and take its answer; never waits."""
        if self._asked is None and time.monotonic() >= self._ask_at:
            self._asked, self._ask_at = self._offsets.topics_read(self._is_other), math.inf
        if self._asked is None or not self._asked.done():
            return
        asked, self._asked, before = self._asked, None, self._others or {}
        if asked.exception() is not None:
            self._ask_at = time.monotonic() + _ASK_AFTER_S
            return
        running = {group: self._running(group, read) for group, read in asked.result().items()}
        self._others = {group: stages for group, stages in running.items() if stages}
        for group in self._others.keys() - before:
            log.error("%s", self._complaint(group))
        if self._others:
            self._ask_at = min(self._ask_at, time.monotonic() + _ASK_EVERY_S)

    def ready_reason(self) -> str:
        """Say which group has the right of way; "" if none has."""
        return next(map(self._complaint, self._first()), "")

    def are_first(self, stage: str) -> bool | None:
        """Return whether a group that runs a stage has the right of way; None: not known yet."""
        others = self._others
        return None if others is None else any(stage in others[group] for group in self._first())

    def _first(self) -> Iterator[str]:
        return (group for group in self._others or () if group < self._group)

    def _is_other(self, group: str) -> bool:
        return group != self._group and bool(self._judged_by(group))

    def _running(self, group: str, topics: Collection[str]) -> list[str]:
        """Return which stages of this group another runs, by what its members read.

        Members that wait for their partitions may read anything.
        """
        topics = topics or (POSTS, SHARDS)
        judged = self._judged_by(group) if POSTS in topics else ()
        ranks = (COMBINER,) if SHARDS in topics else ()
        return [stage for stage in (*judged, *ranks) if stage in self._stages]

    def _complaint(self, group: str) -> str:
        stages = ", ".join((self._others or {})[group])
        return (
            f"the group `{group}` runs {stages}, too, and both write the results: stop the workers"
            f" of one group, `{group}` or `{self._group}`; `feedmill groups describe` lists them"
        )
