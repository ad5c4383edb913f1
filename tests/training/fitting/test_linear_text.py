import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from builders.training_data import WORDS
from feedmill.features.text.ngrams import TextBatch
from feedmill.training.arrays import Mask, Values
from feedmill.training.fitting.linear_text import (
    RidgePenalties,
    TextRows,
    fit_dense_ridge,
    fit_with_scores,
    score_rows,
    text_rows,
)
from feedmill.training.fitting.ngram_models import folds_of, out_of_fold

RANDOM = np.random.default_rng(5)


def rows_of(effect: float = 1.0) -> tuple[TextRows, list[str], Values]:
    """Texts of ten groups, half of them with a word that raises the value by `effect`."""
    plain = [" ".join(RANDOM.choice(WORDS, 8)) for _ in range(200)]
    has_word = (np.arange(200) % 2).astype(np.float64)
    texts = [f"{t} wonderful" if y else t for t, y in zip(plain, has_word, strict=True)]
    groups = [f"g{i // 20}" for i in range(200)]
    return text_rows(texts, effect * (has_word - 0.5), groups), texts, has_word


def test_dense_ridge_is_scikit_learns_on_standardised_columns() -> None:
    columns = RANDOM.normal(size=(80, 4)) * [1, 10, 0.1, 0] + 3
    values, weights = RANDOM.normal(size=80), RANDOM.uniform(0.5, 2, 80)
    coefficients, bias = fit_dense_ridge(columns, values, weights, 5.0)
    means = np.average(columns, axis=0, weights=weights)
    deviations = np.sqrt(np.average((columns - means) ** 2, axis=0, weights=weights))
    deviations[deviations < 1e-9] = np.inf
    oracle = Ridge(alpha=5.0).fit((columns - means) / deviations, values, sample_weight=weights)
    np.testing.assert_allclose(coefficients, oracle.coef_ / deviations, atol=1e-9)
    assert bias == pytest.approx(oracle.intercept_ - means @ coefficients)


def test_a_fit_finds_the_word_and_scores_texts_as_it_scores_rows() -> None:
    rows, texts, has_word = rows_of()
    model = fit_with_scores(rows, RidgePenalties(1.0))[0]
    scores = model.score(TextBatch(texts))
    np.testing.assert_allclose(scores, score_rows(model, rows), atol=1e-4)
    assert scores[has_word > 0].min() > scores[has_word == 0].max()


def test_scores_out_of_fold_know_nothing_of_their_own_fold() -> None:
    rows, _, has_word = rows_of()
    noise = TextRows(rows.matrix, rows.shape, RANDOM.normal(size=200), rows.weights, rows.groups)
    folds = folds_of(rows.groups.tolist())

    def correlation(of: TextRows, truth: Values) -> float:
        def score(kept: Mask, held_out: Mask) -> Values:
            model = fit_with_scores(of.where(kept), RidgePenalties(1.0))[0]
            return score_rows(model, of.where(held_out))

        fitted = out_of_fold(folds, score)
        return float(spearmanr(fitted, truth).statistic)

    assert correlation(rows, has_word) > 0.8
    assert abs(correlation(noise, noise.values)) < 0.25


def test_a_model_within_groups_predicts_differences_at_their_size() -> None:
    rows, _, has_word = rows_of(effect=2.0)
    # Each group has a share of the word of its own: its mean is no merit of a text.
    values = rows.values.copy()
    for group in np.unique(rows.groups):
        values[rows.groups == group] -= values[rows.groups == group].mean()
    centred = TextRows(rows.matrix, rows.shape, values, rows.weights, rows.groups)
    model = fit_with_scores(centred, RidgePenalties(1.0, 0.1), within_groups=True)[0]
    scores = score_rows(model, centred)
    gap = scores[has_word > 0].mean() - scores[has_word == 0].mean()
    assert gap == pytest.approx(2.0, rel=0.15)


def test_a_model_learned_before_lends_its_scores() -> None:
    rows, texts, _ = rows_of()
    before = fit_with_scores(rows, RidgePenalties(1.0))[0].ngram_model
    few = rows.where(np.arange(200) < 40)
    alone = score_rows(fit_with_scores(few, RidgePenalties(1e4))[0], rows)
    helped = score_rows(fit_with_scores(few, RidgePenalties(1e4), [before])[0], rows)
    assert spearmanr(helped, rows.values).statistic >= spearmanr(alone, rows.values).statistic
    gap = np.abs(helped - rows.values).mean()
    assert gap < np.abs(alone - rows.values).mean()
    assert len(texts) == len(helped)
