"""Which canary of each model is under way, by the records of `models` in their order.

Several processes may say how a canary ends; what counts is the first record that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from feedmill.events.decode import decode_canary
from feedmill.events.errors import BadEvent
from feedmill.events.release import Canary, ModelRelease
from feedmill.streams.kafka.batches import Record


class StartedCanary(NamedTuple):
    """A canary and the offset of the record that began it; `reason` is the alarm that ended it."""

    offset: int
    canary: Canary
    reason: str = ""

    @property
    def is_under_way(self) -> bool:
        return self.canary.ends is None


class CanaryFold:
    """Applies records about canaries, and releases, which end them."""

    def __init__(self, models: Sequence[str]) -> None:
        self._models = tuple(models)
        self._last: dict[str, StartedCanary] = {}

    def take(self, record: Record) -> str:
        """Apply a record whose key is that of a canary; return the model.

        Raises
        ------
        BadEvent
            It breaks the contract, or ends a canary that is not under way.
        """
        name, canary = decode_canary(self._models, record.key, record.value)
        if canary is None:
            self._last.pop(name, None)
        elif canary.ends is None:
            self._last[name] = StartedCanary(record.offset, canary)
        else:
            self._check_under_way(name, canary.ends)
            self._last[name] = StartedCanary(canary.ends, canary, canary.reason)
        return name

    def take_release(self, model: str, release: ModelRelease | None) -> None:
        """Apply a release, None of the installed version: it ends a canary of the model.

        Raises
        ------
        BadEvent
            It promotes a canary that is not under way.
        """
        if release is not None and release.canary is not None:
            self._check_under_way(model, release.canary)
        self._last.pop(model, None)

    def current(self, model: str) -> StartedCanary | None:
        """Return the canary that is under way."""
        last = self._last.get(model)
        return last if last is not None and last.is_under_way else None

    def last(self, model: str) -> StartedCanary | None:
        """Return the canary under way, or the one that an alarm ended since the last release."""
        return self._last.get(model)

    def _check_under_way(self, model: str, offset: int) -> None:
        current = self.current(model)
        if current is None or current.offset != offset:
            raise BadEvent(f"the canary of `{model}` that began at {offset} is not under way")
