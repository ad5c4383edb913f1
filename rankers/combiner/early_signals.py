"""Signals about versions of posts that have not come yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from feedmill.events.signal import Signal

# Some 600 bytes each.
MOST_EARLY = 100_000


class EarlySignals:
    """By row and name the signals of versions yet to come, oldest first.

    Each version keeps the last signal, and beside a failure the last good one.  The number is
    bounded: beyond it the signals of the row that has waited longest are dropped.

    Attributes
    ----------
    dropped
        How many signals were dropped so far.  Their posts lack them until their stage writes again.
    """

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._count = 0
        self._by_row: OrderedDict[int, dict[str, list[Signal]]] = OrderedDict()

    def __len__(self) -> int:
        """How many signals wait."""
        return self._count

    def __contains__(self, row: int) -> bool:
        return row in self._by_row

    def has_later(self, row: int, name: str, signal: Signal) -> bool:
        """Whether a signal that waits is later than this one, which is to be ignored then."""
        waiting = self._by_row.get(row, {}).get(name)
        if not waiting:
            return False
        last = waiting[-1]
        return (signal.post_offset, signal.revision) < (last.post_offset, last.revision)

    def add(self, row: int, name: str, signal: Signal) -> None:
        """Let a signal wait; it is about no earlier version than the last one."""
        waiting = self._by_row.setdefault(row, {}).setdefault(name, [])
        before = len(waiting)
        while waiting and waiting[-1].post_offset == signal.post_offset:
            if waiting[-1].value is not None and signal.value is None:
                break
            waiting.pop()
        waiting.append(signal)
        self._count += len(waiting) - before

    def take(self, row: int) -> Mapping[str, list[Signal]]:
        """The signals that wait in this row, by name; they wait no more."""
        signals = self._by_row.pop(row, {})
        self._count -= sum(map(len, signals.values()))
        return signals

    def discard(self, row: int, name: str) -> None:
        """Drop the signals of this name, which its stage withdrew."""
        signals = self._by_row.get(row, {})
        self._count -= len(signals.pop(name, ()))
        if not signals:
            self._by_row.pop(row, None)

    def drop_longest(self) -> int | None:
        """Drop the signals of the row that has waited longest, if there are too many in all.

        Returns the row, else None.
        """
        if self._count <= self._most:
            return None
        row = next(iter(self._by_row))
        self.dropped += sum(map(len, self.take(row).values()))
        return row
