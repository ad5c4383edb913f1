"""Fit boosted trees by LightGBM, reproducibly.

LightGBM is imported where it is used: that takes a second, and only trainers need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feedmill.models.trees import Trees
from feedmill.training.arrays import Values
from feedmill.training.fitting.ngram_models import SEED


@dataclass(frozen=True)
class TreeSettings:
    """LightGBM's `num_boost_round`, `num_leaves`, `min_data_in_leaf` and `learning_rate`.

    With no rounds a ranker has no trees, and is linear.
    """

    rounds: int
    leaves: int
    min_rows: int
    rate: float = 0.08


def fit_correction(
    columns: Values, rest: Values, weights: Values, rising: int, settings: TreeSettings
) -> str | None:
    """Fit trees of what a model left unexplained; return LightGBM's text, None without rounds.

    Parameters
    ----------
    columns
        (rows, columns) float64, NaN where a value is missing.
    rest, weights
        (rows,) each: the truth less what the model says, and how much a row weighs.
    rising
        The correction must not fall in so many of the first columns.
    settings
        How many trees, and of what size.
    """
    if not settings.rounds:
        return None
    import lightgbm  # noqa: PLC0415 a second to import, and only trainers need it

    parameters: dict[str, Any] = {
        "objective": "regression",
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows,
        "learning_rate": settings.rate,
        "monotone_constraints": [1] * rising + [0] * (columns.shape[1] - rising),
        "monotone_constraints_method": "basic",
        "lambda_l2": 5.0,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "max_bin": 127,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": SEED,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(columns, label=rest, weight=weights)
    model = lightgbm.train(parameters, data, num_boost_round=settings.rounds)
    text: str = model.model_to_string()
    # The parameters at the end name nothing that the trees need.
    return text.partition("\nend of trees")[0] + "\n"


def correction(text: str | None, columns: Values) -> Values:
    """Return what LightGBM's text adds to each row, 0 without one: (rows,)."""
    return np.zeros(len(columns)) if text is None else Trees.parse(text).raw_scores(columns)
