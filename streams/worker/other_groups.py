"""Other consumer groups that run a stage of this worker: both would write its signals."""

from __future__ import annotations

import logging
from collections.abc import Collection

from feedmill.events.instance import Instance
from feedmill.streams.settings.instances import RECENT_MS

log = logging.getLogger(__name__)


class OtherGroups:
    """Knows by the heartbeats on `instances` which groups run the stages of this one, too.

    Of two such groups the one whose name comes first goes on as if it were alone, and the other
    is not ready: so a process that somebody started by mistake takes no feed down.
    """

    def __init__(self, group: str, stages: Collection[str]) -> None:
        self._group, self._stages = group, frozenset(stages)
        # By group the instance that was seen last, and when.
        self._seen: dict[str, tuple[int, Instance]] = {}

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance, stamped by the broker at `at_ms`."""
        if instance.stage not in self._stages or instance.group in ("", self._group):
            return
        last_ms, _ = self._seen.get(instance.group, (0, instance))
        if at_ms - last_ms > RECENT_MS:
            log.error("%s", self._complaint(instance))
        self._seen[instance.group] = at_ms, instance

    def ready_reason(self, now_ms: int) -> str:
        """Say which group has the right of way; "" if none has."""
        for group, (at_ms, instance) in self._seen.items():
            if group < self._group and now_ms - at_ms <= RECENT_MS:
                return self._complaint(instance)
        return ""

    def _complaint(self, other: Instance) -> str:
        return (
            f"the group `{other.group}` runs the stage {other.stage}, too (instance"
            f" {other.instance} on {other.host}), and both write its results: stop the workers of"
            f" one group, `{other.group}` or `{self._group}`"
        )
