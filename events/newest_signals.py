"""The newest signal of each post, folded from the records of `signals.<name>`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from feedmill.events.decode import decode_key, decode_signal
from feedmill.events.errors import BadEvent
from feedmill.events.signal import Signal, SignalNames

Kept = TypeVar("Kept")


class NewestSignals(Generic[Kept]):
    """Keeps something of the newest signal of each post.

    A signal of a later version of the post is newer, then one of a higher revision; of two that are
    equal in both the later record counts.

    Parameters
    ----------
    name, names
        Of the signal, and of all signals of the installation.
    keep
        What is kept of a signal; None passes it over, and the one before stays.
    """

    def __init__(
        self, name: str, names: SignalNames, keep: Callable[[Signal], Kept | None]
    ) -> None:
        self._name, self._names, self._keep = name, names, keep
        # By post: the offset of its version, the revision, and what is kept.
        self._newest: dict[str, tuple[int, int, Kept]] = {}

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Fold a record: an empty one withdraws the signal, a broken one is passed over."""
        try:
            if not value:
                self._newest.pop(decode_key(key), None)
                return
            signal = decode_signal(self._name, self._names, key, value)
        except BadEvent:
            return
        kept = self._keep(signal)
        order = signal.post_offset, signal.revision
        if kept is not None and self._newest.get(signal.post_id, order)[:2] <= order:
            self._newest[signal.post_id] = *order, kept

    def get(self, post_id: str) -> Kept | None:
        """Return what is kept of a post's newest signal; None if it has none."""
        found = self._newest.get(post_id)
        return None if found is None else found[2]
