from dataclasses import replace

import numpy as np

from feedmill.models.trees import Trees
from feedmill.training.fitting.trees import (
    TreeSettings,
    correction,
    corrections_out_of_fold,
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

    def fit(kept: np.ndarray) -> str | None:
        return fit_correction(COLUMNS[kept], COLUMNS[kept, 0], np.ones(kept.sum()), 0, none)

    assert fit(np.ones(1_000, dtype=np.bool_)) is None
    assert not corrections_out_of_fold(fit, COLUMNS, GROUPS).any()
    once = replace(SETTINGS, rounds=1)
    text = fit_correction(COLUMNS, COLUMNS[:, 0], np.ones(1_000), 0, once)
    assert correction(text, COLUMNS).any()


def test_corrections_know_nothing_of_their_own_group() -> None:
    signal, noise = COLUMNS[:, 0] * 1.0, RANDOM.normal(size=1_000)
    # A column that names the group gives away the mean of the group to who learned it.
    columns = np.column_stack([COLUMNS, np.arange(1_000) // 10])
    by_group = np.repeat(RANDOM.normal(size=100), 10)

    def correlation(rest: np.ndarray) -> float:
        def fit(kept: np.ndarray) -> str | None:
            return fit_correction(columns[kept], rest[kept], np.ones(kept.sum()), 0, SETTINGS)

        return float(np.corrcoef(corrections_out_of_fold(fit, columns, GROUPS), rest)[0, 1])

    assert correlation(signal) > 0.9
    assert abs(correlation(noise)) < 0.2
    assert abs(correlation(by_group)) < 0.35
