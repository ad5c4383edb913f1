"""Fit boosted trees by LightGBM, reproducibly.

LightGBM is imported where it is used: that takes a second, and only trainers need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.models.trees import Trees
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.ngram_models import SEED, folds_of


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
    columns, rest, weights
        (rows, columns), then (rows,) each: `rest` is the truth less what the model says.
    rising
        The correction must not fall in so many of the first columns.
    settings
        How many trees, and of what size.
    """
    if not settings.rounds:
        return None
    return fit_trees(
        columns,
        rest,
        weights,
        objective="regression",
        rounds=settings.rounds,
        leaves=settings.leaves,
        min_rows=settings.min_rows,
        rate=settings.rate,
        monotone=[1] * rising + [0] * (columns.shape[1] - rising),
    )


def corrections_out_of_fold(
    fit: Callable[[Mask], str | None], columns: Values, groups: npt.NDArray[np.str_]
) -> Values:
    """Correct each row by trees that did not learn from its group: (rows,).

    `fit` returns LightGBM's text of the rows in a mask, None where there is no correction.
    """
    folds = folds_of(groups.tolist())
    corrections = np.zeros(len(columns))
    for fold in np.unique(folds):
        out = folds == fold
        corrections[out] = correction(fit(~out), columns[out])
    return corrections


def correction(text: str | None, columns: Values) -> Values:
    """Return what LightGBM's text adds to each row, 0 without one: (rows,)."""
    return np.zeros(len(columns)) if text is None else Trees.parse(text).raw_scores(columns)


def fit_trees(  # noqa: PLR0913 the settings of one training, each named at the call
    rows: Values,
    labels: Values,
    weights: Values,
    *,
    objective: str,
    rounds: int,
    leaves: int,
    min_rows: int,
    rate: float = 0.08,
    monotone: Sequence[int] | None = None,
    start: Values | None = None,
) -> str:
    """Train LightGBM and return its text.

    Parameters
    ----------
    rows
        (rows, columns) float64, NaN where a value is missing.
    labels, weights, start
        (rows,) each; `start` are the raw scores that the trees add to.
    objective, rounds, leaves, min_rows, rate
        LightGBM's `objective`, `num_boost_round`, `num_leaves`, `min_data_in_leaf` and
        `learning_rate`.
    monotone
        By column 1 where the value must not fall as the column rises, else 0.
    """
    import lightgbm  # noqa: PLC0415 a second to import, and only trainers need it

    settings: dict[str, Any] = {
        "objective": objective,
        "num_leaves": leaves,
        "min_data_in_leaf": min_rows,
        "learning_rate": rate,
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "max_bin": 127,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "boost_from_average": True,
        "seed": SEED,
        "verbosity": -1,
    }
    if monotone is not None:
        settings |= {"monotone_constraints": list(monotone), "monotone_constraints_method": "basic"}
        settings["feature_fraction"] = 1.0
    data = lightgbm.Dataset(rows, label=labels, weight=weights, init_score=start)
    model = lightgbm.train(settings, data, num_boost_round=rounds)
    text: str = model.model_to_string()
    # The parameters at the end name nothing that the trees need.
    return text.partition("\nend of trees")[0] + "\n"
