"""LightGBM trees evaluated in numpy, read from LightGBM's own text format.

Importing LightGBM takes a second and brings scikit-learn and scipy with it; a model stage needs
neither.  Numeric splits without missing values only (what `fitting.fit_trees` makes); LightGBM
itself is the oracle in the tests.  All trees of all rows descend one level at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact

_CHUNK_ROWS = 256
_CATEGORICAL = 1
_MISSING = 0b1100


@dataclass(frozen=True, slots=True)
class Trees:
    """A forest: nodes of all trees in one list, leaves pointing at themselves."""

    features: int
    roots: npt.NDArray[np.int32]
    split_feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float64]
    children: npt.NDArray[np.int32]  # (2 * nodes,): right of node i at 2i, left at 2i + 1
    value: npt.NDArray[np.float64]
    depth: int

    @classmethod
    def parse(cls, text: str) -> Trees:
        """Read LightGBM's model text; raises `BadArtifact` on what this evaluator does not know."""
        try:
            header, *blocks = text.split("\nTree=")
            features = int(_fields(header)["max_feature_idx"]) + 1
            return _assemble(features, [_fields(block) for block in blocks])
        except (KeyError, ValueError, IndexError) as error:
            raise BadArtifact(f"the trees are not LightGBM text ({error!r}); retrain") from error

    def raw_scores(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum the leaves each row falls into: (rows,) from (rows, features) without NaN."""
        scores = np.empty(len(rows), dtype=np.float64)
        for begin in range(0, len(rows), _CHUNK_ROWS):
            part = rows[begin : begin + _CHUNK_ROWS]
            scores[begin : begin + len(part)] = self._descend(part)
        return scores

    def _descend(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        width = rows.shape[1]
        flat = np.ascontiguousarray(rows).ravel()
        offset = (np.arange(len(rows)) * width)[:, None]
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(self.depth):
            values = flat[offset + self.split_feature[node]]
            node = self.children[2 * node + (values <= self.threshold[node])]
        leaves: npt.NDArray[np.float64] = self.value[node].sum(axis=1)
        return leaves


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _numbers(text: str, kind: type[np.generic]) -> npt.NDArray[np.float64]:
    return np.array(text.split(), dtype=kind)


def _assemble(features: int, blocks: list[dict[str, str]]) -> Trees:
    roots, split, threshold, children, value = [], [], [], [], []
    base, depth = 0, 0
    for block in blocks:
        leaves = int(block["num_leaves"])
        inner = leaves - 1
        nodes = inner + leaves
        if (
            inner
            and (
                _numbers(block["decision_type"], np.int64).astype(np.int64)
                & (_CATEGORICAL | _MISSING)
            ).any()
        ):
            raise ValueError("categorical split or missing values")
        left = _children(block, "left_child", inner)
        right = _children(block, "right_child", inner)
        depth = max(depth, _depth(left, right, inner))
        own = np.arange(inner, nodes)
        roots.append(base)
        split.append(np.zeros(nodes, dtype=np.int32))
        threshold.append(np.zeros(nodes))
        if inner:
            split[-1][:inner] = _numbers(block["split_feature"], np.int32)
            threshold[-1][:inner] = _numbers(block["threshold"], np.float64)
        both = np.empty(2 * nodes, dtype=np.int32)
        both[0::2] = np.concatenate([right, own]) + base
        both[1::2] = np.concatenate([left, own]) + base
        children.append(both)
        value.append(np.concatenate([np.zeros(inner), _numbers(block["leaf_value"], np.float64)]))
        base += nodes
    if any(part.max() >= features for part in split):
        raise ValueError("a split beyond the features")
    return Trees(
        features,
        np.array(roots, dtype=np.int32),
        np.concatenate(split) if split else np.zeros(0, dtype=np.int32),
        np.concatenate(threshold) if threshold else np.zeros(0),
        np.concatenate(children) if children else np.zeros(0, dtype=np.int32),
        np.concatenate(value) if value else np.zeros(0),
        depth,
    )


def _children(block: dict[str, str], side: str, inner: int) -> npt.NDArray[np.int64]:
    """Node numbers within the tree: inner nodes first, then leaves (LightGBM's ``~leaf``)."""
    if not inner:
        return np.zeros(0, dtype=np.int64)
    child = np.array(block[side].split(), dtype=np.int64)
    return np.where(child < 0, inner + ~child, child)


def _depth(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], inner: int) -> int:
    level, depth = np.array([0] if inner else [], dtype=np.int64), 0
    while len(level):
        depth += 1
        level = np.concatenate([left[level], right[level]])
        level = level[level < inner]
    return depth
