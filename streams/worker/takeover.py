"""What is done before partitions move: who gets them reads ahead, who has them goes on.

joins:   reads ahead of all partitions ─► joins the group
leaves:  heartbeat `leaving` ─► others read ahead of its partitions ─► leaves the group
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from feedmill.events.instance import Instance
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import RECENT_MS
from feedmill.streams.worker.step import Step

# How long a worker goes on for others that take over.
LEAVE_S = 2.0


class Takeover:
    """Has steps `prepare` partitions that may come, and knows whether others can take over.

    The partitions of a static member go to nobody while it is away, and it comes back to them.

    Attributes
    ----------
    leaving
        The partitions that this worker says it leaves.
    """

    def __init__(self, environment: Environment, group: GroupConsumer, steps: Sequence[Step]):
        self.leaving: tuple[int, ...] = ()
        self._instance, self._is_static = environment.instance, environment.instance_is_given
        self._group, self._steps = group, steps
        self._has_prepared = False
        # Until when others count as there, and until when this worker goes on.
        self._others_until = self._leave_until = 0.0

    def join(self, partitions: int) -> None:
        """Get ready to join others; once, of all partitions."""
        if not (self._has_prepared or self._is_static):
            self._has_prepared = True
            for step in self._steps:
                step.prepare(range(partitions))

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        """Take a heartbeat of any instance."""
        if instance.instance == self._instance or instance.group != self._group.name:
            return
        if instance.leaving:
            self._others_until = 0.0
            theirs = set(instance.leaving).difference(self._group.owned)
            for step in self._steps:
                step.prepare(theirs)
        elif any(step.name == instance.stage and not step.ranks for step in self._steps):
            self._others_until = time.monotonic() + RECENT_MS / 1000

    def leave(self) -> None:
        """Say from now on that this worker leaves, if others can take over."""
        self._leave_until = time.monotonic() + LEAVE_S
        if self.goes_on and not self._is_static:
            self.leaving = self._group.owned

    @property
    def goes_on(self) -> bool:
        """Whether others still read ahead, after `leave`."""
        return time.monotonic() < min(self._leave_until, self._others_until)
