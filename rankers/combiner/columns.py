"""Growing numpy columns, one row a post."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
NO_POST = -1
NO_SIGNAL = -1


class SignalColumns:
    """One signal of every post.

    Attributes
    ----------
    value
        float32; a gate without a verdict is NaN, an objective without one 0.
    offset
        The offset of the post record that was judged, `NO_SIGNAL` where there is no signal.
    at_ms, model
        When it was judged, and the number of ``(model, version)`` in the view's table.
    """

    def __init__(self, empty: float) -> None:
        self.empty = empty
        self.value: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self.offset: Ints = np.empty(0, np.int64)
        self.at_ms: Ints = np.empty(0, np.int64)
        self.model: npt.NDArray[np.int32] = np.empty(0, np.int32)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows."""
        self.value = grown(self.value, capacity, self.empty)
        self.offset = grown(self.offset, capacity, NO_SIGNAL)
        self.at_ms = grown(self.at_ms, capacity, 0)
        self.model = grown(self.model, capacity, 0)

    def clear(self, rows: Any) -> None:
        """Forget the signal of these rows."""
        self.value[rows] = self.empty
        self.offset[rows] = NO_SIGNAL


class PostColumns:
    """What the combiner knows of every post beside its signals.

    Attributes
    ----------
    offset
        The offset of the post's record, `NO_POST` where there is no post, only waiting signals.
    created_ms, arrived_ms
        The effective creation time, and the record's own timestamp.
    author, group
        Numbers in the view's tables.
    """

    def __init__(self) -> None:
        self.offset: Ints = np.empty(0, np.int64)
        self.created_ms: Ints = np.empty(0, np.int64)
        self.arrived_ms: Ints = np.empty(0, np.int64)
        self.author: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.group: npt.NDArray[np.int32] = np.empty(0, np.int32)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows."""
        self.offset = grown(self.offset, capacity, NO_POST)
        self.created_ms = grown(self.created_ms, capacity, 0)
        self.arrived_ms = grown(self.arrived_ms, capacity, 0)
        self.author = grown(self.author, capacity, -1)
        self.group = grown(self.group, capacity, -1)


def grown(column: npt.NDArray[Any], capacity: int, fill: float) -> npt.NDArray[Any]:
    """A copy with room for `capacity` rows, the new ones set to `fill`."""
    wider = np.full(capacity, fill, column.dtype)
    wider[: len(column)] = column
    return wider


class InternTable:
    """A table of distinct values and their numbers."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._spare: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, value: Any) -> int:
        """The number of a value, a new one if it is new."""
        number = self._numbers.get(value)
        if number is None:
            if not self._spare:
                self._spare.append(len(self.values))
                self.values.append(None)
            number = self._numbers[value] = self._spare.pop()
            self.values[number] = value
        return number

    def find(self, value: Any) -> int | None:
        """The number of a value that is known, else None."""
        return self._numbers.get(value)

    def keep(self, numbers: npt.NDArray[np.int32]) -> list[int]:
        """Forget all values but those with these numbers; negative numbers stand for none.

        Returns the numbers that are free now.  They will stand for other values, so the
        caller drops all that refers to them.
        """
        is_kept = np.zeros(len(self.values), bool)
        is_kept[numbers[numbers >= 0]] = True
        forgotten = [n for n in np.flatnonzero(~is_kept).tolist() if self.values[n] is not None]
        for number in forgotten:
            del self._numbers[self.values[number]]
            self.values[number] = None
        self._spare.extend(forgotten)
        return forgotten
