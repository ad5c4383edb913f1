"""What stands for a model that was altered in memory, until it is loaded anew."""

from __future__ import annotations

from typing import Any, NoReturn


class StoppedModel:
    """Raises on every post, in every call that steps make of a text or an engagement model.

    `reason` says what was altered.
    """

    def __init__(self, model: Any, reason: str) -> None:
        self.name = model.name
        self.version = model.version
        self.reason = reason

    def _fail(self, *_: object) -> NoReturn:
        raise RuntimeError(self.reason)

    score_many = score_batch = prior_many = prior_batch = variance_many = _fail
