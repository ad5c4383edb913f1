import re

import lightgbm
import numpy as np
import pytest

from feedmill.models.trees import Trees
from feedmill.training.fitting.trees import TreeSettings, fit_correction


def _rows(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, 6))
    rows[:, 3] = np.round(rows[:, 3])  # ties and exact zeros
    return rows


def _trained(rounds: int, leaves: int) -> str:
    rows = _rows(2_000, 1)
    # The last column is noise to the trees, which then grow all the leaves they may.
    labels = ((rows[:, 0] * rows[:, 1] + rows[:, 3] + np.sin(99 * rows[:, 5])) > 0).astype(float)
    return _fitted(rows, labels, TreeSettings(rounds, leaves, min_rows=2))


def _fitted(rows: np.ndarray, labels: np.ndarray, settings: TreeSettings) -> str:
    text = fit_correction(rows, labels, np.ones(len(rows)), 0, settings)
    assert text is not None
    return text


@pytest.mark.parametrize(("rounds", "leaves"), [(1, 2), (40, 8), (25, 31), (3, 64)])
def test_equals_lightgbm(rounds: int, leaves: int) -> None:
    text = _trained(rounds, leaves)
    rows = _rows(700, 2)
    rows[0] = 0.0
    rows[1] = [np.inf, -np.inf, 1e300, -1e300, 1e-40, -0.0]
    oracle = lightgbm.Booster(model_str=text + "end of trees\n")
    expected = oracle.predict(rows, raw_score=True, num_threads=1)
    trees = Trees.parse(text)
    np.testing.assert_allclose(trees.raw_scores(rows), expected, rtol=1e-12, atol=1e-12)
    for size in (1, 7, 64, 100):
        parts = [trees.raw_scores(rows[i : i + size]) for i in range(0, len(rows), size)]
        np.testing.assert_array_equal(trees.raw_scores(rows), np.concatenate(parts))


@pytest.mark.parametrize("mode", ["many", "few"])
def test_missing_values_go_where_lightgbm_sends_them(mode: str) -> None:
    random = np.random.default_rng(4)
    rows = _rows(3_000, 3)
    # Missing in training in two columns, for better and for worse; never in the others.
    rows[random.random(3_000) < 0.3, 0] = np.nan
    rows[random.random(3_000) < 0.2, 3] = np.nan
    labels = (np.isnan(rows[:, 0]) ^ (np.nan_to_num(rows[:, 3], nan=-2.0) > 0)).astype(float)
    labels += rows[:, 1] + 0.5 * np.sin(3 * np.nan_to_num(rows[:, 0])) + (rows[:, 2] > 0.3)
    text = _fitted(rows, labels, TreeSettings(rounds=30, leaves=12, min_rows=5))
    kinds = set(" ".join(re.findall("^decision_type=(.*)$", text, re.MULTILINE)).split())
    assert {"2", "8", "10"} <= kinds  # none seen, missing goes right, missing goes left
    asked = _rows(500, 5)
    # Any column may lack a value when the model is asked, and beside it there are infinities.
    asked[random.random(asked.shape) < 0.3] = np.nan
    asked[random.random(asked.shape) < 0.05] = np.inf
    asked[random.random(asked.shape) < 0.05] = -np.inf
    asked[0] = np.nan
    oracle = lightgbm.Booster(model_str=text + "end of trees\n")
    expected = oracle.predict(asked, raw_score=True, num_threads=1)
    size = 500 if mode == "many" else 4
    trees = Trees.parse(text)
    found = [trees.raw_scores(asked[at : at + size]) for at in range(0, 500, size)]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12, atol=1e-12)


def test_training_again_gives_the_same_text() -> None:
    assert _trained(10, 8) == _trained(10, 8)


def test_a_constant_target_makes_trees_of_one_leaf() -> None:
    text = _fitted(_rows(200, 3), np.full(200, 0.25), TreeSettings(3, 4, min_rows=10))
    np.testing.assert_allclose(Trees.parse(text).raw_scores(_rows(5, 4)), 0.25)
