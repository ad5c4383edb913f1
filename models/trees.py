"""LightGBM's trees evaluated in numpy, from LightGBM's own text format.

Importing LightGBM takes a second and loads scikit-learn and scipy; a model stage needs none of
them.  Only numeric splits are supported, which is what `training.fitting.trees` makes.
The tests compare with LightGBM itself.

A missing value is NaN.  A split of a column that had missing values in training sends it to the
side that was better for them; any other split takes it for 0, as LightGBM does.

Trees are not walked (QuickScorer; Lucchese et al., SIGIR 2015).  A value above the threshold of a
split excludes the leaves on the left of the split, and a row falls into the first leaf that no
split excludes.  So each feature is looked up once, among the sorted thresholds of all trees, and
the leaves that remain possible are the bitwise and of one row of leaf masks for each feature.
NaN has the last of these rows: infinity ends each feature's thresholds, and only NaN is beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact

_CHUNK_ROWS = 256
_FEW_ROWS = 64
_MAX_LEAVES = 64
# LightGBM's `decision_type`: a categorical split, missing values go left, what counts as missing.
_CATEGORICAL = 0b0001
_DEFAULT_LEFT = 0b0010
_MISSING = 0b1100
_MISSING_NAN = 0b1000

Masks = npt.NDArray[np.unsignedinteger[Any]]
Values = npt.NDArray[np.float64]


class _Split(NamedTuple):
    """A split of one tree; bit i of `left_leaves` stands for leaf i on the left of the split."""

    feature: int
    threshold: float
    missing_left: bool
    tree: int
    left_leaves: int


@dataclass(frozen=True, slots=True)
class Trees:
    """A forest, stored by feature and threshold instead of by tree.

    Attributes
    ----------
    feature_count
        How many columns the rows have, split on or not.
    used_features
        (used,) the columns that some tree splits on, rising.
    threshold_starts
        (used + 1,) ``thresholds[threshold_starts[f]:threshold_starts[f + 1]]`` are those of
        ``used_features[f]``, rising, infinity the last.
    thresholds
        (thresholds,)
    leaf_masks
        (thresholds + used, trees): row ``threshold_starts[f] + f + k`` has for each tree the leaves
        that remain possible for a value above k of the thresholds of ``used_features[f]``; the last
        row of a feature is that of a missing value.
    leaf_values
        (trees, leaves) from left to right, 0 beyond the leaves of a tree.
    threshold_features
        (thresholds,) the feature of each, made of the above.
    last_masks
        (used,) the row of `leaf_masks` for a missing value of a feature.
    before_leaves
        (trees,) the place before the leaves of each tree in all `leaf_values`.
    """

    feature_count: int
    used_features: npt.NDArray[np.int64]
    threshold_starts: npt.NDArray[np.int64]
    thresholds: Values
    leaf_masks: Masks
    leaf_values: Values
    threshold_features: npt.NDArray[np.int64] = field(init=False)
    last_masks: npt.NDArray[np.int64] = field(init=False)
    before_leaves: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        counts = np.diff(self.threshold_starts)
        last_masks = self.threshold_starts[1:] + np.arange(len(self.used_features))
        object.__setattr__(self, "threshold_features", np.repeat(self.used_features, counts))
        object.__setattr__(self, "last_masks", last_masks)
        before_leaves = np.arange(len(self.leaf_values)) * self.leaf_values.shape[1] - 1
        object.__setattr__(self, "before_leaves", before_leaves)

    @classmethod
    def parse(cls, text: str) -> Trees:
        """Read LightGBM's model text.

        Raises `BadArtifact`: the text is not a model, or has splits or more leaves than this
        evaluator supports.
        """
        try:
            header, *blocks = text.split("\nTree=")
            feature_count = int(_fields(header)["max_feature_idx"]) + 1
            return _assemble(feature_count, [_fields(block) for block in blocks])
        except (KeyError, ValueError, IndexError, OverflowError) as error:
            raise BadArtifact(
                f"the trees are not LightGBM text that this build reads ({_reason(error)}); retrain"
            ) from error

    def raw_scores(self, rows: Values) -> Values:
        """Return the sum of the leaves that each row falls into, as LightGBM's raw score.

        Parameters
        ----------
        rows
            (rows, `feature_count`), any numbers, infinities included; NaN where one is missing.

        Returns
        -------
        (rows,) float64.
        """
        if len(rows) <= _FEW_ROWS:
            return self._sum_first_leaves(self._possible_of_few(rows))
        scores = np.empty(len(rows), dtype=np.float64)
        for begin in range(0, len(rows), _CHUNK_ROWS):
            part = rows[begin : begin + _CHUNK_ROWS]
            possible = self._possible_of_many(part)
            scores[begin : begin + len(part)] = self._sum_first_leaves(possible)
        return scores

    def _possible_of_few(self, rows: Values) -> Masks:
        """Compare each value with all thresholds of its feature: few calls of numpy."""
        if not len(self.used_features):
            return self._all_leaves(len(rows))
        starts = self.threshold_starts[:-1]
        # NaN is below none of them, not even infinity at the end.
        is_below = rows.take(self.threshold_features, axis=1) <= self.thresholds
        places = self.last_masks - np.add.reduceat(is_below, starts, axis=1, dtype=np.int64)
        possible: Masks = np.bitwise_and.reduce(self.leaf_masks.take(places, axis=0), axis=1)
        return possible

    def _possible_of_many(self, rows: Values) -> Masks:
        """Search the thresholds of each feature for all rows: little work for each row."""
        possible = self._all_leaves(len(rows))
        masks = np.empty_like(possible)
        starts, columns = self.threshold_starts.tolist(), rows.T[self.used_features]
        for index, (begin, end) in enumerate(pairwise(starts)):
            places = self.thresholds[begin:end].searchsorted(columns[index])
            places += begin + index
            # Places are within bounds; `clip` saves numpy a copy.
            self.leaf_masks.take(places, axis=0, out=masks, mode="clip")
            possible &= masks
        return possible

    def _all_leaves(self, rows: int) -> Masks:
        every = np.array(-1).astype(self.leaf_masks.dtype)
        return np.full((rows, len(self.leaf_values)), every, dtype=self.leaf_masks.dtype)

    def _sum_first_leaves(self, possible: Masks) -> Values:
        """Sum for each row the value of the first possible leaf of each tree: (rows,)."""
        to_lowest_bit = possible ^ (possible - 1)
        leaf = np.bitwise_count(to_lowest_bit) + self.before_leaves
        scores: Values = np.add.reduce(self.leaf_values.take(leaf), axis=1)
        return scores


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the field `{error.args[0]}` is missing"
    return "a node or leaf is missing" if isinstance(error, IndexError) else str(error)


def _fields(block: str) -> dict[str, str]:
    """Return the lines ``key=value`` of a block."""
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _assemble(feature_count: int, blocks: Sequence[dict[str, str]]) -> Trees:
    """Build the forest from the fields of each tree; raises `ValueError`."""
    if feature_count < 1:
        raise ValueError(f"{feature_count} features")
    splits: list[_Split] = []
    values: list[list[float]] = []
    for tree, block in enumerate(blocks):
        leaf_values = [float(number) for number in block["leaf_value"].split()]
        order: list[int] = []
        splits += _splits(tree, block, order)
        values.append([leaf_values[leaf] for leaf in order])
    if not all(0 <= split.feature < feature_count for split in splits):
        raise ValueError("a split on a feature that there is not")
    numbers = chain((split.threshold for split in splits), *values)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a threshold or a leaf that is no finite number")
    width = max(map(len, values), default=1)
    if width > _MAX_LEAVES:
        raise ValueError(f"{width} leaves in a tree, {_MAX_LEAVES} at most")
    padded = np.zeros((len(values), width))
    for tree, row in enumerate(values):
        padded[tree, : len(row)] = row
    bits = next(size for size in (8, 16, 32, 64) if size >= width)
    by_feature = _by_feature(splits, len(values), np.dtype(f"u{bits // 8}"))
    return Trees(feature_count, *by_feature, padded)


def _splits(tree: int, block: dict[str, str], order: list[int]) -> Iterator[_Split]:
    """Walk a tree from left to right: append its leaves to `order`, and yield its splits."""
    splits = int(block["num_leaves"]) - 1
    if not splits:
        order.append(0)
        return
    kinds = [int(kind) for kind in block["decision_type"].split()]
    if any(kind & _CATEGORICAL or kind & _MISSING not in (0, _MISSING_NAN) for kind in kinds):
        raise ValueError("a categorical split, or one that takes 0 for a missing value")
    left, right = ([int(n) for n in block[side].split()] for side in ("left_child", "right_child"))
    features = [int(number) for number in block["split_feature"].split()]
    thresholds = [float(number) for number in block["threshold"].split()]
    # Nodes to visit, each with the number of leaves before its left side once that side is done.
    stack: list[tuple[int, int | None]] = [(0, None)]
    steps = 0
    while stack:
        node, first_leaf = stack.pop()
        steps += 1
        if steps > 3 * splits + 1:
            raise ValueError("a tree that leads back into itself")
        if node < 0:  # LightGBM's ``~leaf``
            order.append(~node)
        elif first_leaf is None:
            stack += [(node, len(order)), (left[node], None)]
        else:
            left_leaves = (1 << len(order)) - (1 << first_leaf)
            missing_left = _missing_left(kinds[node], thresholds[node])
            yield _Split(features[node], thresholds[node], missing_left, tree, left_leaves)
            stack.append((right[node], None))


def _missing_left(kind: int, threshold: float) -> bool:
    """Say whether a split sends NaN to the left; where training saw none, NaN stands for 0."""
    return bool(kind & _DEFAULT_LEFT) if kind & _MISSING else threshold >= 0.0


def _by_feature(
    splits: Sequence[_Split], trees: int, mask_type: np.dtype[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Values, Masks]:
    """Return `used_features`, `threshold_starts`, `thresholds` and `leaf_masks` of a forest."""
    used = sorted({split.feature for split in splits})
    rising = {f: sorted({s.threshold for s in splits if s.feature == f}) for f in used}
    starts = np.cumsum([0, *(len(rising[feature]) + 1 for feature in used)])
    every = np.array(-1).astype(mask_type)
    masks = np.full((int(starts[-1]) + len(used), trees), every, dtype=mask_type)
    for index, feature in enumerate(used):
        begin = int(starts[index]) + index
        place = {threshold: begin + k for k, threshold in enumerate(rising[feature], 1)}
        missing = place[rising[feature][-1]] + 1
        for split in splits:
            if split.feature == feature:
                right_alone = ~mask_type.type(split.left_leaves)
                masks[place[split.threshold], split.tree] &= right_alone
                if not split.missing_left:
                    masks[missing, split.tree] &= right_alone
        masks[begin:missing] = np.bitwise_and.accumulate(masks[begin:missing], axis=0)
    thresholds = np.array(
        [value for feature in used for value in (*rising[feature], np.inf)], dtype=np.float64
    )
    return np.array(used, dtype=np.int64), starts, thresholds, masks
