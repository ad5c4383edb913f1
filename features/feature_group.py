"""What a group of feature columns is: its name, its columns, and how to compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.features.post_batch import PostBatch

FeatureMatrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Feature columns that are computed together.

    Declared in the file of the feature and listed in `features/registry.py`.

    Attributes
    ----------
    name
        What a model calls the group when it says which features it reads.
    columns
        The names of the columns, in order.  A model's artifact holds them, so that a renamed
        column needs a retrained model.  No two groups share a column name.
    compute
        Returns the matrix of a batch: (posts, columns), float32, finite.  A row depends on its
        post alone, whatever else is in the batch.
    """

    name: str
    columns: tuple[str, ...]
    compute: Callable[[PostBatch], FeatureMatrix]
