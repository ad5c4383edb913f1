"""The posts in cells, whose upper edges bound the scores of their posts under any weights."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import EPOCH_MS, HOUR_MS, LEAST_SUM
from feedmill.tables.grouped_rows import GroupedRows

Floats = npt.NDArray[np.float64]

# Cells are six hours of creation wide, half a doubling of engagement, an eighth of quality.
_CREATION_MS = 6 * 3_600_000
_CELLS_BELOW_ONE = 40
_LEAST_ENGAGEMENT = 2.0 ** (-_CELLS_BELOW_ONE / 2)
_ENGAGEMENT_CELLS, _QUALITY_CELLS = _CELLS_BELOW_ONE + 2, 9
# A bound and a score are computed in different orders.
_SLACK = 1e-9


class Cells:
    """The cell of each post that some policy shows.

    Attributes
    ----------
    rows
        The posts by the number of their cell.
    """

    def __init__(self, view: PostView) -> None:
        self.rows = GroupedRows()
        self._view = view
        self._number_of: dict[int, int] = {}
        self._spare: list[int] = []
        # By number: the key, -1 for none, and the upper edges, infinite in the highest cells.
        self._key: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._edges = {name: np.zeros(0) for name in ("quality", "engagement")}
        self._ends_ms: Floats = np.zeros(0)  # since `EPOCH_MS`
        self._highest: dict[str, float] = {}  # by objective, of the posts of all cells

    def build(self, shown: npt.NDArray[np.bool_]) -> None:
        """Put these posts into cells, by row; called once, at the start."""
        rows = np.flatnonzero(shown).astype(np.int32)
        numbers = np.full(len(shown), -1, np.int32)
        self._note_highest(rows)
        keys, places = np.unique(self._keys(rows), return_inverse=True)
        numbers[rows] = np.array([self._number(key) for key in keys.tolist()], np.int32)[places]
        self.rows.build(numbers)

    def update(self, rows: Rows, shown: npt.NDArray[np.bool_]) -> None:
        """Follow changes of these posts, and whether some policy shows each."""
        self.rows.grow(self._view.capacity, len(self._key))
        numbers = self.rows.number.values[rows]
        keys = np.where(shown, self._keys(rows), -1)
        before = np.where(numbers >= 0, self._key[numbers] if len(self._key) else -1, -1)
        self._note_highest(rows[shown])
        for place in np.flatnonzero(keys != before).tolist():
            key = keys.item(place)
            self.rows.move(rows.item(place), -1 if key < 0 else self._number(key))

    def forget_empty(self) -> None:
        """Let the numbers of cells without posts stand for others."""
        is_empty = (self._key >= 0) & (self.rows.size.values[: len(self._key)] == 0)
        for number in np.flatnonzero(is_empty).tolist():
            del self._number_of[int(self._key[number])]
            self._key[number] = -1
            self._spare.append(number)

    def bounds(self, weights: Weights, most_added: float) -> tuple[npt.NDArray[np.intp], Floats]:
        """The cells with posts, those with the highest scores first, and what bounds the scores.

        `most_added` is the most that is added to the score of any post.
        """
        numbers = np.flatnonzero(self.rows.size.values[: len(self._key)])
        total = np.zeros(len(numbers))
        for name, weight in weights.added:
            most = max(self._highest.get(name, 0.0), weights.bases.get(name, 0.0))
            edges = self._edges.get(name)
            total += weight * (most if edges is None else np.minimum(edges[numbers], most))
        bounds = np.log2(np.maximum(total, LEAST_SUM)) + (most_added + _SLACK)
        if weights.half_life_hours is not None:
            bounds += self._ends_ms[numbers] / (weights.half_life_hours * HOUR_MS)
        order = np.argsort(-bounds)
        return numbers[order], bounds[order]

    def _keys(self, rows: Rows) -> npt.NDArray[np.int64]:
        signals, created_ms = self._view.signals, self._view.post.created_ms[rows]
        clicks = signals["engagement"].value.values[rows].astype(np.float64)
        engagement = np.ceil(2 * np.log2(np.maximum(clicks, _LEAST_ENGAGEMENT)))
        engagement += _CELLS_BELOW_ONE
        engagement = np.clip(engagement, 0, _ENGAGEMENT_CELLS - 1).astype(np.int64)
        quality = np.floor(signals["quality"].value.values[rows] * np.float64(8))
        quality = np.clip(quality, 0, _QUALITY_CELLS - 1).astype(np.int64)
        in_time: npt.NDArray[np.int64] = created_ms // _CREATION_MS
        keys: npt.NDArray[np.int64] = in_time * _ENGAGEMENT_CELLS + engagement
        return keys * _QUALITY_CELLS + quality

    def _note_highest(self, rows: Rows) -> None:
        if not len(rows):
            return
        for name in self._of_objectives():
            highest = float(np.fmax.reduce(self._view.signals[name].value.values[rows]))
            if highest > self._highest.get(name, 0.0):
                self._highest[name] = highest

    def _of_objectives(self) -> Iterable[str]:
        return (name for name in self._view.names.objectives if name in self._view.written)

    def _number(self, key: int) -> int:
        number = self._number_of.get(key)
        if number is None:
            if not self._spare:
                self._grow()
            number = self._number_of[key] = self._spare.pop()
            self._key[number] = key
            rest, quality = divmod(key, _QUALITY_CELLS)
            in_time, engagement = divmod(rest, _ENGAGEMENT_CELLS)
            is_highest = quality == _QUALITY_CELLS - 1, engagement == _ENGAGEMENT_CELLS - 1
            self._edges["quality"][number] = np.inf if is_highest[0] else (quality + 1) / 8
            edge = np.inf if is_highest[1] else 2.0 ** ((engagement - _CELLS_BELOW_ONE) / 2)
            self._edges["engagement"][number] = edge
            self._ends_ms[number] = (in_time + 1) * _CREATION_MS - EPOCH_MS
        return number

    def _grow(self) -> None:
        """Have numbers for more cells."""
        more = len(self._key) + 64
        self._spare = [*range(len(self._key), len(self._key) + more)]
        self._key = np.append(self._key, np.full(more, -1, np.int64))
        self._edges = {name: np.append(each, np.zeros(more)) for name, each in self._edges.items()}
        self._ends_ms = np.append(self._ends_ms, np.zeros(more))
        self.rows.grow(0, len(self._key))
