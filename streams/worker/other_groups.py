"""Which other consumer groups run the same stages: Kafka lists them, or heartbeats name them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from typing import Protocol

from feedmill.events.instance import Instance
from feedmill.streams.flow import COMBINER
from feedmill.streams.kafka.assignment import POSTS, SHARDS
from feedmill.streams.settings.instances import RECENT_MS

log = logging.getLogger(__name__)


class Groups(Protocol):
    """What is asked of `Offsets`."""

    def group_names(self) -> Future[list[str]]: ...

    def topics_read(self, groups: Collection[str]) -> Future[dict[str, set[str]]]: ...


class OtherGroups:
    """Knows which other consumer groups run the stages of this one, too.

    At its start it asks Kafka which groups there are, and later heartbeats name them.  Anybody may
    write those, so a group counts only if workers can have its name, and Kafka says that its
    members read what the stage reads.  Of two such groups the one whose name comes first goes on
    as if it were alone, and the other is not ready, and claims no feeds: so a process that
    somebody started by mistake takes none down.

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
        kafka: Groups,
    ) -> None:
        self._group, self._stages = group, frozenset(stages)
        self._judged_by, self._kafka = judged_by, kafka
        # By group and stage when it was heard of last, and what is wrong if that is true.
        self._heard: dict[tuple[str, str], tuple[int, str]] = {}
        # What members of a group read, as Kafka said since it was heard of.
        self._topics: dict[str, set[str]] = {}
        self._names: Future[list[str]] | None = None
        self._is_listed = False
        self._to_ask: set[str] = set()
        self._asked: Future[dict[str, set[str]]] | None = None

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance, stamped by the broker at `at_ms`."""
        who = f" (instance {instance.instance:.100} on {instance.host:.100})"
        self._hear(instance.group, (instance.stage,), who, at_ms)

    def follow(self, now_ms: int) -> None:
        """Ask Kafka, and take its answers; never waits."""
        if not self._is_listed:
            self._names = self._names or self._kafka.group_names()
            if self._names.done():
                self._is_listed = self._names.exception() is None
                for group in self._names.result() if self._is_listed else ():
                    self._hear(group, self._stages, "", now_ms)
                self._names = None
        if self._asked is not None and self._asked.done():
            found = {} if self._asked.exception() else self._asked.result()
            self._asked = None
            self._to_ask -= found.keys()
            new, self._topics = found.keys() - self._topics, self._topics | found
            for (group, stage), (_, complaint) in self._heard.items():
                if group in new and self._runs(group, stage):
                    log.error("%s", complaint)
        if self._asked is None and self._to_ask:
            self._asked = self._kafka.topics_read(sorted(self._to_ask))

    def ready_reason(self, now_ms: int) -> str:
        """Say which group has the right of way; "" if none has."""
        return next((complaint for runs, _, complaint in self._first(now_ms) if runs), "")

    def are_first(self, stage: str, now_ms: int) -> bool | None:
        """Return whether another group that runs a stage has the right of way.

        None: Kafka has not said yet.
        """
        runs = {runs for runs, of_stage, _ in self._first(now_ms) if of_stage == stage}
        is_known = self._is_listed and None not in runs
        return True in runs or (False if is_known else None)

    def _hear(self, group: str, stages: Iterable[str], who: str, at_ms: int) -> None:
        """Note that a group may run stages, and have Kafka asked."""
        judged = () if group == self._group else self._judged_by(group)
        if not judged:
            return
        heard = (at_ms for (name, _), (at_ms, _) in self._heard.items() if name == group)
        if at_ms - max(heard, default=0) > RECENT_MS:
            self._topics.pop(group, None)
        for stage in self._stages.intersection(stages, (*judged, COMBINER)):
            complaint = (
                f"the group `{group}` runs the stage {stage}, too{who}, and both write its results:"
                f" stop the workers of one group, `{group}` or `{self._group}`"
            )
            self._heard[group, stage] = at_ms, complaint
            self._to_ask.add(group)

    def _first(self, now_ms: int) -> Iterator[tuple[bool | None, str, str]]:
        """Yield whether a group before this one runs a stage, the stage, and what is wrong then."""
        for (group, stage), (at_ms, complaint) in self._heard.items():
            if group < self._group and now_ms - at_ms <= RECENT_MS:
                yield self._runs(group, stage), stage, complaint

    def _runs(self, group: str, stage: str) -> bool | None:
        """Return whether members of a group run a stage; None while Kafka has not said."""
        topics = self._topics.get(group)
        return None if topics is None else (SHARDS if stage == COMBINER else POSTS) in topics
