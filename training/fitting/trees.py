"""Fit boosted trees by LightGBM, reproducibly.

LightGBM is imported where it is used: that takes a second, and only trainers need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feedmill.training.arrays import Values
from feedmill.training.fitting.ngram_models import SEED


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
        (rows, columns) float64.
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
        "use_missing": False,
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
