"""The trainers of the rankers, one line each, by the ranker's name: what `feedmill train` calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from feedmill.models.artifact import ModelCard
from feedmill.training.trainers import engagement, quality

# Each takes the folder of its data sets, the store to save into, and the day that its card states.
TRAINERS: dict[str, Callable[[Path, Path, str], ModelCard]] = {
    "quality": quality.train,
    "engagement": engagement.train,
}
