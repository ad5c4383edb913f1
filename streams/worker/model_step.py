"""Steps of one model, which can be replaced while it runs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NoReturn, Protocol

from feedmill.streams.worker.step import Step


class HoldsModel(Protocol):
    """What judges posts by `model`: a step, a candidate in a canary, a challenger in shadow."""

    model: Any

    def stop_model(self, reason: str) -> None:
        """Judge no more posts by this model."""
        ...


class StoppedModel:
    """Takes the place of a model that must judge no more: each call raises with the reason."""

    def __init__(self, model: Any, reason: str) -> None:
        self.name = model.name
        self.version = model.version
        self.reason = reason

    def _fail(self, *_: object) -> NoReturn:
        raise RuntimeError(self.reason)

    # All calls that steps make of a text model or of the engagement model.
    score_many = score_batch = prior_many = prior_batch = variance_many = _fail


class ModelStep(Step):
    """A step of one model, which has the step's name and can be replaced while the step runs."""

    model: Any

    @property
    def is_stopped(self) -> bool:
        """True from `stop_model` to the next `swap`: every post fails."""
        return isinstance(self.model, StoppedModel)

    @property
    def scores_again(self) -> bool:
        """True while the step has earlier posts to judge again."""
        return False

    @abstractmethod
    def swap(self, model: Any) -> None:
        """Go on with another version of the model, which is warm; called between two cycles."""

    def stop_model(self, reason: str) -> None:
        """Fail on all posts until the next `swap`; called between two cycles.

        After that `swap` the posts of the last week are scored again, since the model may have
        erred before it was stopped.  Overriding methods call this first.
        """
        self.model = StoppedModel(self.model, reason)

    def version_at(self, partition: int) -> str:
        """Return the version that judges the posts of a partition."""
        return self.models[self.name]
