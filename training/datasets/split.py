"""Which rows train a model, choose its thresholds and test it: whole groups, by a salted hash.

The first edition is the split of version 0.1, whose test rows were looked at while its recipes were
chosen.  The second edition is salted anew, and each look at its test rows is logged
(`training.evaluation.looks`).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EDITION = "second edition"
# With fewer groups a hash could leave none to train on: then one group is the test split.
_FEW_GROUPS = 6


def split_of(family: str, group: str) -> Split:
    """Return the split of a group: six in ten train, two each are for validation and test."""
    bucket = _hash(family, group) % 100
    return "train" if bucket < 60 else "validation" if bucket < 80 else "test"


def splits_of(family: str, groups: Sequence[str]) -> list[Split]:
    """Return the split of each row, by the group that it belongs to.

    Of fewer than six groups, one is for test and the others train.
    """
    names = set(groups)
    if len(names) < _FEW_GROUPS:
        test = _test_group(family, names)
        return ["test" if group == test else "train" for group in groups]
    split = {name: split_of(family, name) for name in names}
    return [split[group] for group in groups]


def split_of_first_edition(family: str, group: str) -> Split:
    """Return the split that version 0.1 put a group into, of a source with six groups or more."""
    bucket = zlib.crc32(f"{family}|{group}".encode()) % 100
    return "train" if bucket < 50 else "validation" if bucket < 75 else "test"


def seen_by_first_edition(family: str, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which rows version 0.1 was tested on, and so looked at: (rows,)."""
    names = set(groups)
    if len(names) < _FEW_GROUPS:
        return np.array([group == max(names) for group in groups], dtype=np.bool_)
    tested = {name for name in names if split_of_first_edition(family, name) == "test"}
    return np.array([group in tested for group in groups], dtype=np.bool_)


def _test_group(family: str, names: set[str]) -> str:
    """Return the test group of a few: not the one that version 0.1 looked at, if there are more."""
    return min(names, key=lambda name: (name == max(names), _hash(family, name)), default="")


def _hash(family: str, group: str) -> int:
    digest = hashlib.sha256(f"{EDITION}|{family}|{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
