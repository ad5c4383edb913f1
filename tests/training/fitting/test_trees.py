from dataclasses import replace

import numpy as np

from feedmill.models.trees import Trees
from feedmill.training.fitting.trees import (
    TreeSettings,
    correction,
    fit_correction,
)

SETTINGS = TreeSettings(rounds=30, leaves=8, min_rows=10)
RANDOM = np.random.default_rng(8)
COLUMNS = RANDOM.normal(size=(1_000, 3))
GROUPS = np.array([f"g{i // 10}" for i in range(1_000)])


def test_a_correction_never_falls_in_the_first_columns() -> None:
    # The truth falls in the first column, which may not show, and in the last, which may.
    rest = -COLUMNS[:, 0] - COLUMNS[:, 2]
    text = fit_correction(COLUMNS, rest, np.ones(1_000), 2, SETTINGS)
    assert text is not None
    trees = Trees.parse(text)
    along = np.tile(COLUMNS[:50, None], (1, 101, 1))
    for column, sign in ((0, 1), (1, 1), (2, -1)):
        moved = along.copy()
        moved[:, :, column] = np.linspace(-3, 3, 101)
        scores = trees.raw_scores(moved.reshape(-1, 3)).reshape(50, 101)
        if sign > 0:
            assert (np.diff(scores, axis=1) >= 0).all()
        else:
            assert (scores[:, -1] < scores[:, 0] - 1).all()


def test_without_rounds_nothing_is_corrected() -> None:
    none = replace(SETTINGS, rounds=0)

    assert fit_correction(COLUMNS, COLUMNS[:, 0], np.ones(1_000), 0, none) is None
    assert not correction(None, COLUMNS).any()
    once = replace(SETTINGS, rounds=1)
    text = fit_correction(COLUMNS, COLUMNS[:, 0], np.ones(1_000), 0, once)
    assert correction(text, COLUMNS).any()
