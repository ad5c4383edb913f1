"""Steps of one model, which can be replaced while it runs."""

from __future__ import annotations

from abc import abstractmethod
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
