"""Signals about versions of posts that have not come yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from itertools import islice

from feedmill.events.signal import Signal

# Some 600 bytes each.
MOST_EARLY = 100_000


class EarlySignals:
    """By row and name the signals of versions yet to come.

    Each version keeps the last signal, and beside a failure the last good one.  No more than `most`
    are to wait: of workers the caller takes no more while it `is_full`; of `own`, the signals of
    other programs, those of the row that has waited longest are dropped.

    Attributes
    ----------
    rows
        Those in which signals wait.
    dropped
        How many signals were dropped so far.  Their posts lack them until their stage writes again.
    """

    def __init__(self, most: int, own: Collection[str] = ()) -> None:
        self.dropped = 0
        self._most = most
        self._own = frozenset(own)
        self._count = self._own_count = 0
        # Tuples: the collector looks at one once, at a list each time.
        self._by_row: dict[int, dict[str, tuple[Signal, ...]]] = {}
        self.rows = self._by_row.keys()
        self._own_rows: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """How many signals wait."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether more signals of workers wait than should."""
        return self._count - self._own_count > self._most

    def next_rows(self, most: int) -> list[int]:
        """Rows in which signals wait, in turns: other ones at the next call."""
        rows = [*islice(self._by_row, most)]
        for row in rows:
            self._by_row[row] = self._by_row.pop(row)
        return rows

    def has_later(self, row: int, name: str, signal: Signal) -> bool:
        """Whether a signal that waits is later than this one, which is to be ignored then."""
        waiting = self._by_row.get(row, {}).get(name)
        if not waiting:
            return False
        last = waiting[-1]
        return (signal.post_offset, signal.revision) < (last.post_offset, last.revision)

    def add(self, row: int, name: str, signal: Signal) -> None:
        """Let a signal wait; it is about no earlier version than the last one."""
        of_row = self._by_row.setdefault(row, {})
        waiting = before = of_row.get(name, ())
        while waiting and waiting[-1].post_offset == signal.post_offset:
            if waiting[-1].value is not None and signal.value is None:
                break
            waiting = waiting[:-1]
        of_row[name] = *waiting, signal
        self._counted(row, name, len(of_row[name]) - len(before))

    def take(self, row: int) -> Mapping[str, tuple[Signal, ...]]:
        """The signals that wait in this row, by name; they wait no more."""
        signals = self._by_row.pop(row, {})
        for name, waiting in signals.items():
            self._counted(row, name, -len(waiting))
        self._own_rows.pop(row, None)
        return signals

    def discard(self, row: int, name: str) -> int:
        """Drop the signals of this name, which its stage withdrew; return how many."""
        return self._keep(row, name, ())

    def drop_before(self, row: int, offset: int) -> None:
        """Drop the signals about versions before this one: they will not come any more."""
        for name, waiting in [*self._by_row.get(row, {}).items()]:
            self._keep(row, name, tuple(one for one in waiting if one.post_offset >= offset))

    def drop_longest(self) -> int | None:
        """Drop the `own` signals of the row that has waited longest, if there are too many.

        Returns the row, else None.
        """
        if self._own_count <= self._most:
            return None
        row = next(iter(self._own_rows))
        names = self._own.intersection(self._by_row[row])
        self.dropped += sum(self.discard(row, name) for name in names)
        self._own_rows.pop(row, None)
        return row

    def _keep(self, row: int, name: str, left: tuple[Signal, ...]) -> int:
        """Have only these signals of a name wait; return how many went."""
        signals = self._by_row.get(row, {})
        gone = len(signals.get(name, ())) - len(left)
        self._counted(row, name, -gone)
        if left:
            signals[name] = left
        else:
            signals.pop(name, None)
        if not signals:
            self._by_row.pop(row, None)
            self._own_rows.pop(row, None)
        return gone

    def _counted(self, row: int, name: str, more: int) -> None:
        self._count += more
        if name in self._own:
            self._own_count += more
            if more > 0:
                self._own_rows.setdefault(row)
