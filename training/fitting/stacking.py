"""What the trainers of filters and rankers share: fitting the parts of a stacked model.

Needs the `train` extra (scikit-learn) and LightGBM, imported where they are used; seeded and
single-threaded, so that the same texts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.models.text_model import Calibrator, NgramModel, stacked_matrix

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SEED = 20
FOLDS = 4
_LIMIT = 4095
# A curve's ends lie so far beyond its thresholds, in raw scores; and so much of the way to its
# ceiling it climbs as steadily as before.
_REACH, _STEADY = 12.0, 0.8


def count_matrix(batch: TextBatch, word_factor: int = 1) -> Any:
    """Return the token counts over sqrt(number of tokens): scipy CSR (rows, BUCKETS), float32.

    Words and word pairs count `word_factor` times.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    rows, columns, factors, base = [], [], [], 0
    for chunk in batch.chunks:
        for block in chunk.blocks:
            lengths = block.ends - block.starts
            owner = np.repeat(np.arange(len(chunk), dtype=np.int32), lengths)
            inside = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            rows.append(owner + np.int32(base))
            columns.append(block.tokens[np.repeat(block.starts, lengths) + inside].view(np.int32))
            factor = word_factor if block.words else 1
            factors.append(np.full(len(owner), factor, dtype=np.float32))
        base += len(chunk)
    row, column = np.concatenate(rows), np.concatenate(columns)
    scale = (1.0 / np.sqrt(batch.token_counts())).astype(np.float32)
    values = scale[row] * np.concatenate(factors)
    matrix = sparse.coo_matrix((values, (row, column)), shape=(len(batch), BUCKETS))
    return matrix.tocsr()


def inverse_frequency(matrix: Any) -> npt.NDArray[np.float32]:
    """Return the smoothed inverse document frequency per bucket, as scikit-learn's tf-idf."""
    seen = np.bincount(matrix.indices, minlength=BUCKETS)
    idf: npt.NDArray[np.float64] = np.log((1 + matrix.shape[0]) / (1 + seen)) + 1
    return idf.astype(np.float32)


def fit_logistic(
    matrix: Any, labels: Values, weights: Values, strength: float, word_factor: int = 1
) -> NgramModel:
    """Fit tf-idf and logistic regression; labels in [0, 1], `strength` is scikit-learn's C.

    `word_factor` is the one the matrix was made with.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

    idf = inverse_frequency(matrix)
    scaled = matrix @ sparse.diags(idf)
    soft = bool(((labels > 0) & (labels < 1)).any())
    if soft:
        scaled = sparse.vstack([scaled, scaled], format="csr")
        weights = np.concatenate([weights * labels, weights * (1 - labels)])
        labels = np.repeat([1.0, 0.0], len(labels))
    kept = weights > 0
    # Where weights stay small, lbfgs is done in a fifth of liblinear's time; elsewhere it is not.
    solver, tolerance = ("lbfgs", 1e-3) if strength < 1 else ("liblinear", 1e-4)
    model = LogisticRegression(
        C=strength, solver=solver, tol=tolerance, random_state=SEED, max_iter=300
    )
    model.fit(scaled[kept], labels[kept] > 0.5, sample_weight=weights[kept])
    return quantised(model.coef_[0] * idf, float(model.intercept_[0]), word_factor)


def fit_ridge(matrix: Any, values: Values, weights: Values, penalty: float) -> NgramModel:
    """Fit tf-idf and ridge regression to real values."""
    from scipy import sparse  # noqa: PLC0415 the `train` extra
    from sklearn.linear_model import Ridge  # noqa: PLC0415 the `train` extra

    idf = inverse_frequency(matrix)
    model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-4)
    model.fit(matrix @ sparse.diags(idf), values, sample_weight=weights)
    return quantised(np.asarray(model.coef_, dtype=np.float64) * idf, float(model.intercept_))


def quantised(weights: Values, bias: float, word_factor: int = 1) -> NgramModel:
    """Round weights to whole steps of the largest over 4095."""
    scale = float(np.abs(weights).max()) / _LIMIT or 1.0
    scale = float(np.float32(scale))
    whole = np.clip(np.rint(weights / scale), -_LIMIT, _LIMIT).astype(np.int32)
    return NgramModel(whole, scale, float(np.float32(bias)), word_factor)


def folds_of(groups: Sequence[str], seed: int = SEED) -> npt.NDArray[np.int64]:
    """Return a fold in [0, FOLDS) for each row, whole groups together."""
    names, group_of = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return order[group_of]


def out_of_fold(
    fit: Callable[[Mask], NgramModel], matrix: Any, folds: npt.NDArray[np.int64]
) -> Values:
    """Score each row by a table fitted without its fold: what the trees learn from."""
    scores = np.zeros(len(folds))
    for fold in np.unique(folds):
        held = folds == fold
        table = fit(~held)
        scores[held] = matrix[held] @ table.real_weights + table.bias
    return scores


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
    """Train LightGBM, reproducibly, and return its text."""
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


def stacked_rows(scores: Sequence[Values], batch: TextBatch) -> Values:
    """Return the trees' training rows: given linear scores (out of fold), then the shape."""
    rows = stacked_matrix((), batch)
    return np.concatenate([np.stack(scores, axis=1), rows], axis=1) if scores else rows


def fixed_calibrator(
    raw_demote: float, raw_hide: float, slope: float, ceiling: float
) -> Calibrator:
    """Map raw scores so that `raw_demote` becomes 0.6 and `raw_hide` 0.9.

    Below 0.6 the log-odds fall with `slope` per unit.  Above 0.9, or 0.6 with a `ceiling` below it,
    they go on as they came, then gently: values stay apart, and end at `ceiling`.
    """
    odds = [_log_odds(p) for p in (0.6, 0.9, ceiling)]
    raw_hide = max(raw_hide, raw_demote + 1e-3)
    climb = (odds[1] - odds[0]) / (raw_hide - raw_demote)
    raw = [raw_demote - _REACH, raw_demote]
    log_odds = [odds[0] - _REACH * slope, odds[0]]
    if ceiling > 0.9:
        raw.append(raw_hide)
        log_odds.append(odds[1])
    rise = _STEADY * (odds[2] - log_odds[-1])
    steady = raw[-1] + rise / climb
    raw += [steady, steady + _REACH]
    log_odds += [log_odds[-1] + rise, odds[2]]
    return Calibrator(np.array(raw), np.array(log_odds))


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
