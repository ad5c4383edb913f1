"""The weights of several models side by side, so that one look at memory serves all of them.

The tables of the models together do not fit into a core's cache, and a token is at a random place
of each.  Here the weights of a token, one in each lane, are 16 bytes in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import TextChunk

Weights = npt.NDArray[np.signedinteger[Any]]
Sums = npt.NDArray[np.int64]

LANES = 8
# The tables of fewer are read one after the other in no more time.
_LEAST_LANES = 4
_NO_SUMS: Sums = np.zeros((LANES, 0), dtype=np.int64)


class LaneSums(NamedTuple):
    """The sums of each lane's weights over some texts, exact.

    Attributes
    ----------
    layout
        What they were made by; it keeps the arrays, so that none gets the `id` of another.
    of_bytes, of_words
        (`LANES`, rows) each: of n-grams of bytes, and of words and pairs of words.
    """

    layout: Layout
    of_bytes: Sums
    of_words: Sums

    def of(self, weights: Weights, word_factor: int) -> Sums | None:
        """Return the sums of an array in the layout, (rows,) or (models, rows); else None."""
        lanes = self.layout.lanes.get(id(weights))
        if lanes is None:
            return None
        sums: Sums = self.of_bytes[lanes] + self.of_words[lanes] * word_factor
        return sums


@dataclass(frozen=True, slots=True)
class Layout:
    """What is where; never changed, so that a batch keeps the lanes that its sums were made of.

    Attributes
    ----------
    asked
        The arrays that the layout was made for, with a lane or without, by `id`.
    lanes
        By the `id` of its array the lane of a model's weights, or the lanes of several joined;
        none where few models share a text.
    table
        (buckets,) of 16 bytes each: a weight in each lane.
    """

    asked: Mapping[int, Weights]
    lanes: Mapping[int, int | slice]
    table: npt.NDArray[np.void]

    @classmethod
    def of(cls, asked: Mapping[int, Weights]) -> Layout:
        """Copy the weights that fit, (buckets,) or (models, buckets) of int16 each."""
        lanes: dict[int, int | slice] = {}
        columns: list[Weights] = []
        for key, weights in asked.items():
            rows, begin = np.atleast_2d(weights), len(columns)
            if weights.dtype == np.int16 and begin + len(rows) <= LANES:
                columns += [*rows]
                lanes[key] = begin if weights.ndim == 1 else slice(begin, len(columns))
        if len(columns) < _LEAST_LANES:
            return cls(asked, {}, np.zeros(0, dtype="V16"))
        table = np.zeros((len(columns[0]), LANES), dtype=np.int16)
        for lane, column in enumerate(columns):
            table[:, lane] = column
        return cls(asked, lanes, table.view("V16")[:, 0])

    def sums(self, chunks: Sequence[TextChunk]) -> LaneSums:
        """Sum the weights of each lane over the tokens of each text."""
        parts = [self._sums(chunk) for chunk in chunks] if self.lanes else []
        if len(parts) == 1:
            return LaneSums(self, *parts[0])
        of_bytes, of_words = zip((_NO_SUMS, _NO_SUMS), *parts, strict=True)
        return LaneSums(self, np.hstack(of_bytes), np.hstack(of_words))

    def _sums(self, chunk: TextChunk) -> tuple[Sums, Sums]:
        words, size = chunk.words, chunk.byte_tokens.shape[1]
        # `reduceat` refuses a bound at the end: one row more.
        added = np.zeros((size + chunk.word_tokens.shape[1] + 1, LANES), dtype=np.int16)
        # Each is between -4095 and 4095, so that three fit into 16 bits.
        for tokens in chunk.byte_tokens:
            added[:size] += self._weights(tokens)
        singles, pairs = self._weights(chunk.word_tokens)
        if len(pairs):
            # The last word of a row makes no pair.
            pairs[words.ends - 1] = 0
            np.add(singles, pairs, out=added[size:-1])
        bounds = np.empty((2, len(chunk), 2), dtype=np.int64)
        bounds[0, :, 0], bounds[0, :, 1] = chunk.folded.starts, chunk.folded.ends
        bounds[1, :, 0], bounds[1, :, 1] = words.starts, words.ends
        bounds[1] += size
        # Every other sum is of what lies between two rows.
        sums = np.add.reduceat(added, bounds.ravel(), axis=0, dtype=np.int32)[::2].T
        of_bytes, of_words = sums[:, : len(chunk)], sums[:, len(chunk) :]
        # `reduceat` gives one token's weight where there is none.
        return of_bytes.astype(np.int64), of_words * (words.ends > words.starts).astype(np.int64)

    def _weights(self, tokens: npt.NDArray[np.uint32]) -> npt.NDArray[np.int16]:
        return self.table.take(tokens).view(np.int16).reshape(*tokens.shape, LANES)


class InterleavedWeights:
    """The layout for the batches of one thread, made anew when they begin to ask for others.

    So a release needs nothing: its weights are read where they are by one batch, and from the next
    one on here.

    Attributes
    ----------
    present
        The layout of the last batch; one without lanes before the first.
    """

    def __init__(self) -> None:
        self.present = Layout.of({})
        self._asked: dict[int, Weights] = {}

    def layout(self) -> Layout:
        """Return the layout for another batch; it has what the batches before asked for."""
        asked, self._asked, layout = self._asked, {}, self.present
        if not asked.keys() <= layout.lanes.keys() and asked.keys() != layout.asked.keys():
            self.present = Layout.of(asked)
        return self.present

    def ask(self, weights: Weights) -> None:
        """Note that a batch reads these weights."""
        self._asked[id(weights)] = weights

    def kept(self) -> InterleavedWeights:
        """Return a copy for one batch that reads the present layout, and never makes another."""
        copy = InterleavedWeights()
        copy.present = self.present
        return copy
