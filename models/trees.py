"""LightGBM trees evaluated in numpy, read from LightGBM's own text format.

Importing LightGBM takes a second and brings scikit-learn and scipy with it; a model stage needs
neither.  Numeric splits without missing values only (what `fitting.fit_trees` makes); LightGBM
itself is the oracle in the tests.

No tree is descended.  A value beyond a split's threshold rules out the leaves on the split's left,
and the first leaf that no split rules out is the one a row falls into (QuickScorer, Lucchese et
al., SIGIR 2015).  So each feature is looked up once, in the sorted thresholds of all trees, and the
leaves that are left are the bitwise and of one row of bits a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact

_CHUNK_ROWS = 256
_FEW_ROWS = 8
_MOST_LEAVES = 64
_CATEGORICAL = 1
_MISSING = 0b1100

Bits = npt.NDArray[np.unsignedinteger[Any]]
Values = npt.NDArray[np.float64]


class _Split(NamedTuple):
    """A split of one tree; `left` has the bits of the leaves left of it."""

    feature: int
    threshold: float
    tree: int
    left: int


@dataclass(frozen=True, slots=True)
class Trees:
    """A forest, turned about: the splits by feature and threshold, leaves as bits.

    Feature ``used[f]`` has the thresholds ``thresholds[starts[f]:starts[f + 1]]``, rising;
    ``left[starts[f] + f + k]`` are the leaves, of each tree, that a value leaves possible which
    exceeds k of them.
    """

    features: int
    used: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]  # (used + 1,)
    thresholds: Values
    left: Bits  # (thresholds + used, trees)
    value: Values  # (trees, leaves), from left to right

    @classmethod
    def parse(cls, text: str) -> Trees:
        """Read LightGBM's model text; raises `BadArtifact` on what this evaluator does not know."""
        try:
            header, *blocks = text.split("\nTree=")
            features = int(_fields(header)["max_feature_idx"]) + 1
            return _assemble(features, [_fields(block) for block in blocks])
        except (KeyError, ValueError, IndexError) as error:
            raise BadArtifact(f"the trees are not LightGBM text ({error!r}); retrain") from error

    def raw_scores(self, rows: Values) -> Values:
        """Sum the leaves each row falls into: (rows,) from (rows, features) without NaN."""
        scores = np.empty(len(rows), dtype=np.float64)
        for begin in range(0, len(rows), _CHUNK_ROWS):
            part = rows[begin : begin + _CHUNK_ROWS]
            possible = self._of_few(part) if len(part) <= _FEW_ROWS else self._of_many(part)
            scores[begin : begin + len(part)] = self._sum(possible)
        return scores

    def _of_few(self, rows: Values) -> Bits:
        """Compare with every threshold: few calls of numpy."""
        if not len(self.used):
            return self._all(len(rows))
        counts = np.diff(self.starts)
        beyond = rows[:, np.repeat(self.used, counts)] > self.thresholds
        places = np.add.reduceat(beyond, self.starts[:-1], axis=1, dtype=np.int64)
        places += self.starts[:-1] + np.arange(len(self.used))
        possible: Bits = np.bitwise_and.reduce(self.left[places], axis=1)
        return possible

    def _of_many(self, rows: Values) -> Bits:
        """Search each feature's thresholds: little work a row."""
        possible = self._all(len(rows))
        buffer = np.empty_like(possible)
        for index, feature in enumerate(self.used):
            begin, end = self.starts[index], self.starts[index + 1]
            places = np.searchsorted(self.thresholds[begin:end], rows[:, feature])
            # Places are within bounds; `clip` spares numpy a copy.
            np.take(self.left, places + (begin + index), axis=0, out=buffer, mode="clip")
            possible &= buffer
        return possible

    def _all(self, rows: int) -> Bits:
        every = np.array(-1).astype(self.left.dtype)
        return np.full((rows, len(self.value)), every, dtype=self.left.dtype)

    def _sum(self, possible: Bits) -> Values:
        trees, leaves = self.value.shape
        one = possible.dtype.type(1)
        lowest = possible & (~possible + one)
        leaf = np.bitwise_count(lowest - one) + np.arange(trees) * leaves
        scores: Values = self.value.ravel()[leaf].sum(axis=1)
        return scores


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _assemble(features: int, blocks: Sequence[dict[str, str]]) -> Trees:
    splits: list[_Split] = []
    values: list[list[float]] = []
    for tree, block in enumerate(blocks):
        leaf_values = [float(number) for number in block["leaf_value"].split()]
        order: list[int] = []
        splits += _splits(tree, block, order)
        values.append([leaf_values[leaf] for leaf in order])
    if any(split.feature >= features for split in splits):
        raise ValueError("a split beyond the features")
    width = max(map(len, values), default=1)
    if width > _MOST_LEAVES:
        raise ValueError(f"{width} leaves in a tree, {_MOST_LEAVES} at most")
    value = np.zeros((len(values), width))
    for tree, row in enumerate(values):
        value[tree, : len(row)] = row
    bits = next(size for size in (8, 16, 32, 64) if size >= width)
    return Trees(features, *_by_feature(splits, len(values), np.dtype(f"u{bits // 8}")), value)


def _splits(tree: int, block: dict[str, str], order: list[int]) -> Iterator[_Split]:
    """Walk one tree from left to right: put its leaves into `order`, and yield its splits."""
    inner = int(block["num_leaves"]) - 1
    if not inner:
        order.append(0)
        return
    if any(int(kind) & (_CATEGORICAL | _MISSING) for kind in block["decision_type"].split()):
        raise ValueError("categorical split or missing values")
    sides = [[int(n) for n in block[side].split()] for side in ("left_child", "right_child")]
    feature = [int(number) for number in block["split_feature"].split()]
    threshold = [float(number) for number in block["threshold"].split()]
    # On the way: nodes to enter, and nodes whose left side is done, with where it began.
    way: list[tuple[int, int | None]] = [(0, None)]
    steps = 0
    while way:
        node, began = way.pop()
        steps += 1
        if steps > 3 * inner + 1:
            raise ValueError("a tree that leads back into itself")
        if node < 0:  # LightGBM's ``~leaf``
            order.append(~node)
        elif began is None:
            way += [(node, len(order)), (sides[0][node], None)]
        else:
            left = (1 << len(order)) - (1 << began)
            yield _Split(feature[node], threshold[node], tree, left)
            way.append((sides[1][node], None))


def _by_feature(
    splits: Sequence[_Split], trees: int, bits: np.dtype[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Values, Bits]:
    """Return a forest's `used`, `starts`, `thresholds` and `left`."""
    used = sorted({split.feature for split in splits})
    rising = {f: sorted({s.threshold for s in splits if s.feature == f}) for f in used}
    starts = np.cumsum([0, *(len(rising[feature]) for feature in used)])
    left = np.full((int(starts[-1]) + len(used), trees), np.array(-1).astype(bits), dtype=bits)
    for index, feature in enumerate(used):
        begin = int(starts[index]) + index
        place = {threshold: begin + k for k, threshold in enumerate(rising[feature], 1)}
        for split in splits:
            if split.feature == feature:
                left[place[split.threshold], split.tree] &= ~bits.type(split.left)
        end = begin + len(rising[feature]) + 1
        left[begin:end] = np.bitwise_and.accumulate(left[begin:end], axis=0)
    thresholds = np.array(
        [value for feature in used for value in rising[feature]], dtype=np.float64
    )
    return np.array(used, dtype=np.int64), starts, thresholds, left
