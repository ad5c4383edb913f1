"""How long work tells what it does and how much is left; who shows it is up to the caller."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Called when a part begins or ends, from any thread; returns at once."""

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Say what is done now, how many parts are done, and of how many; 0: not known."""
        ...


def silent(what: str, done: int = 0, total: int = 0) -> None:
    """Tell nobody."""
