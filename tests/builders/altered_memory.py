"""Models that were altered in memory: flipped bits, a constant; and a round of checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_ubyte
from types import SimpleNamespace
from typing import Any

import numpy as np

from feedmill.features.post_batch import PostBatch
from feedmill.features.text.code_points import CharacterTable
from feedmill.models.text_model import Scores
from feedmill.streams.releases.model_checks import ModelChecks
from feedmill.streams.releases.served_memory import Memory


def bytes_of(memory: Memory) -> np.ndarray:
    """A view of all that something consists of, read-only or not."""
    if isinstance(memory, CharacterTable):
        memory = memory._known
    array = np.frombuffer(memory, np.uint8) if isinstance(memory, bytes) else memory
    return array.ravel(order="K").view(np.uint8)


def flip(memory: Memory, bit: int) -> None:
    """Flip one bit, counted from the first byte."""
    at, number = divmod(bit, 8)
    byte = c_ubyte.from_address(bytes_of(memory).ctypes.data + at)
    byte.value ^= 1 << number


@contextmanager
def flipped(memory: Memory, bit: int) -> Iterator[None]:
    """Flip one bit, and flip it back."""
    flip(memory, bit)
    try:
        yield
    finally:
        flip(memory, bit)


def check_all(checks: ModelChecks) -> None:
    """Do a whole round at once."""
    checks._follow()
    checks._begin_round({})
    for one in (*checks._fresh, *checks._round):
        checks._check(*one)
    checks._fresh.clear()
    checks._round.clear()


def constant(name: str) -> Any:
    """A model that says 0.25 of every post."""

    def values(batch: PostBatch) -> Scores:
        return np.full(len(batch), 0.25)

    if name != "engagement":
        return SimpleNamespace(score_batch=values)
    return SimpleNamespace(prior_batch=values, score_many=lambda priors, _: priors)
