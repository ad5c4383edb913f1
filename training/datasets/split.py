"""Which rows train a model, choose its thresholds and test it: whole groups, by a salted hash.

Each look at the test rows is logged (`training.evaluation.looks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

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


def _test_group(family: str, names: set[str]) -> str:
    """Return the test group of a few: never the last by name, as another one trains."""
    return min(names, key=lambda name: (name == max(names), _hash(family, name)), default="")


def _hash(family: str, group: str) -> int:
    digest = hashlib.sha256(f"{EDITION}|{family}|{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
