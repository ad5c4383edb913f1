"""Steps of one model, which can be replaced while it runs, or judge beside a candidate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Protocol

from feedmill.streams.worker.step import Step


class HoldsModel(Protocol):
    """What judges posts by `model`; `loaded` is the model as it was given to it."""

    model: Any
    loaded: Any


class ModelStep(Step):
    """A step of one model, called like the step, that can be replaced while it runs.

    Attributes
    ----------
    model, loaded
        As of `HoldsModel`.
    """

    model: Any
    loaded: Any

    @property
    def is_stopped(self) -> bool:
        """Whether posts fail, since `stop_model` was called, until another model is there."""
        return self.model is not self.loaded

    @abstractmethod
    def swap(self, model: Any) -> None:
        """Go on with another version of the model, which is warm; called between two cycles."""

    def stop_model(self, stopped: Any) -> None:
        """Judge by a model that always raises until the next `swap`; called between two cycles.

        Then the posts of the last week are scored again: the model may have erred before.
        Overriding methods call this first.
        """
        self.model = stopped

    def version_at(self, partition: int) -> str:
        """Return the version that judges the posts of a partition."""
        return self.models[self.name]


class CanaryStep(ModelStep):
    """A step that can judge some partitions by another version than the rest: by `canary`."""

    canary: HoldsModel | None

    @abstractmethod
    def begin_canary(self, model: Any, partitions: Collection[int]) -> None:
        """Judge some partitions by a version, which is warm; called between two cycles."""

    @abstractmethod
    def end_canary(self) -> None:
        """Judge all partitions by the model in force; called between two cycles."""

    @abstractmethod
    def canary_failure(self) -> str:
        """Return why the candidate judged nothing in this cycle, and will not; "" if it may."""
