from __future__ import annotations

import numpy as np

from feedmill.training.evaluation.filter_metrics import filter_metrics, mean_metrics


def test_the_mean_of_folds_leaves_out_those_of_one_class() -> None:
    scores = np.array([0.1, 0.2, 0.95, 0.7])
    good = filter_metrics(scores, np.array([False, False, True, True]), [np.zeros(10)])
    none = filter_metrics(scores, np.zeros(4, dtype=np.bool_), [])
    mean = mean_metrics([good, none])
    assert (mean.rows, mean.violating, mean.auc, mean.caught_hidden) == (8, 2, 1.0, 0.5)
    assert good.recall_at_ordinary == 1.0
    assert none.recall_at_ordinary == 0.0
