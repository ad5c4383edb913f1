"""The trainers of the rankers, each by its model's name: what `feedmill train` calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from feedmill.models.artifact import ModelCard
from feedmill.training import train_engagement, train_quality

# Each takes the folder of its sets, the store to save into and the day its card says.
TRAINERS: dict[str, Callable[[Path, Path, str], ModelCard]] = {
    "quality": train_quality.train,
    "engagement": train_engagement.train,
}
