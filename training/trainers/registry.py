"""The trainers of the rankers, one line each, by the ranker's name: what `feedmill train` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.training.trainers import engagement, quality

# Each takes the folder of its data sets, the store to save into, the day that its card states, and
# files with ratings of the product's own, and whether the store keeps the training rows.
TRAINERS: dict[str, Callable[[Path, Store, str, Sequence[str], bool], ModelCard]] = {
    "quality": quality.train,
    "engagement": engagement.train,
}
