from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from builders.training_data import labelled, ordinary, sentences, training_data
from feedmill.events.errors import UsageError
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel
from feedmill.training import local_model
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.fitting.filters import fit
from feedmill.training.local_model import check_labels, fit_delta, fit_local
from feedmill.training.recipes import RECIPES

RECIPE = RECIPES["spam"]


@pytest.fixture(scope="module")
def base() -> FilterModel:
    """A filter that knows one kind of spam."""
    data = training_data()
    recipe = replace(RECIPE, datasets=RECIPE.datasets[:1])
    rows = [data.labelled[0].rows.without_test()]
    return fit(recipe, rows, data.ordinary_posts).model("spam", "0" * 12)


def of_product(seed: int, count: int = 60) -> LabelledPosts:
    """Spam of another kind, written by people who begin each post alike."""
    bad = [f"hello friends {text}" for text in sentences(count, seed, "amber lantern saddle")]
    good = [f"hello friends {text}" for text in sentences(count, seed + 1, "copper meadow basket")]
    rows = [
        LabelledRow(text, label, f"a{i % 20}")
        for label, texts in ((1.0, bad), (0.0, good))
        for i, text in enumerate(texts)
    ]
    return labelled_posts("product", "product", rows)


def auc(model: FilterModel, rows: LabelledPosts) -> float:
    return float(roc_auc_score(rows.labels == 1, model.raw_scores(PostBatch(rows.posts))))


def test_labels_teach_what_the_base_does_not_know_and_keep_what_it_knows(base: FilterModel) -> None:
    local = fit_delta(base, of_product(5))
    unseen = of_product(15)
    assert auc(base, unseen) < 0.8
    assert auc(local, unseen) > 0.95
    assert auc(local, labelled("bad", 31)) > 0.95


def test_the_model_is_the_base_plus_a_delta_and_scores_each_row_alone(base: FilterModel) -> None:
    local, rows = fit_delta(base, of_product(5)), of_product(15)
    together = local.raw_scores(PostBatch(rows.posts))
    alone = [local.raw_scores(PostBatch([post]))[0] for post in rows.posts[:5]]
    np.testing.assert_array_equal(together[:5], alone)
    # A text of unknown words moves with the base alone.
    strange = LabelledRow("Zyx wvut qrsp", 0.0, "z"), LabelledRow("Kjh gfds mnbv", 0.0, "z")
    posts = labelled_posts("s", "s", strange).posts
    assert np.ptp(local.raw_scores(PostBatch(posts))) < 0.5


def of_opposite_labels() -> LabelledPosts:
    """Posts that the stored model knows, labelled the other way round."""
    rows = labelled("bad", 41, 40)
    return replace(rows, labels=1.0 - rows.labels)


@pytest.mark.parametrize("labels", [of_product(5, 40), of_opposite_labels()])
@pytest.mark.parametrize("slope", [1e-3, 2.0])
def test_a_fit_is_the_minimum_that_a_solver_with_bounds_finds(
    base: FilterModel, labels: LabelledPosts, slope: float
) -> None:
    base = replace(base, calibrator=replace(base.calibrator, slope=slope))
    trainer, every = local_model._DeltaTrainer(base, labels), np.ones(len(labels), dtype=np.bool_)
    found = trainer.raw_scores(trainer.fit(every), every)
    matrices = []

    def with_bounds(matrix: Any, signs: Values, weights: Values, *prior: Values) -> Values:
        matrices.append(matrix)
        return bounded_minimum(matrix.toarray(), signs, weights, *prior)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_model, "_minimum", with_bounds)
        patch.setattr(local_model, "_merged_columns", lambda matrix: sparse.eye(matrix.shape[1]))
        expected = trainer.raw_scores(trainer.fit(every), every)
    assert len(matrices) == 1
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.ptp(expected)))


def bounded_minimum(
    matrix: Values, signs: Values, weights: Values, penalty: Values, prior: Values
) -> Values:
    """What `_minimum` returns, with a first weight of at least 0, by the formula of the loss."""

    def loss(point: Values) -> tuple[float, Values]:
        margins = signs * (matrix @ point)
        value = weights @ np.log1p(np.exp(-margins)) + penalty @ (point - prior) ** 2 / 2
        pull = weights * signs / (1.0 + np.exp(margins))
        return float(value), penalty * (point - prior) - matrix.T @ pull

    bounds = [(0.0, None)] + [(None, None)] * (len(prior) - 1)
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x)


def test_thresholds_are_chosen_on_the_products_own_ordinary_posts(base: FilterModel) -> None:
    own = labelled_posts(
        "own", "own", [LabelledRow(f"hello {t}", 0.0, t) for t in sentences(400, 9)]
    )
    fitted = fit_local(base, RECIPE, [of_product(5)], [own])
    model = fitted.model("spam", "1" * 12)
    values = model.score_many(own.posts)
    assert (values >= 0.6).mean() <= 2 * RECIPE.max_demote_rate
    unseen = of_product(15)
    caught = model.score_many(unseen.posts)[unseen.labels == 1] >= 0.6
    assert caught.mean() > 0.9
    assert fitted.rows_by_source == {"product": 120, "own": 400}
    again = fit_local(base, RECIPE, [of_product(5)], [own])
    assert fitted.content("spam") == again.content("spam")


def test_too_few_labels_or_ordinary_posts_are_refused_with_the_numbers() -> None:
    rows, plain = of_product(5), ordinary("one", 3)
    check_labels([rows], [plain])
    few = rows.where(np.arange(len(rows)) < 99)
    with pytest.raises(UsageError, match=r"at least 100 labels .* found 60 that violate and 39"):
        check_labels([few], [plain])
    one_sided = of_product(5, 200)
    one_sided = one_sided.where((one_sided.labels == 0) | (np.arange(len(one_sided)) < 19))
    with pytest.raises(UsageError, match="20 of each kind, found 19 that violate"):
        check_labels([one_sided], [plain])
    with pytest.raises(UsageError, match=r"at least 200 ordinary posts .* found 0"):
        check_labels([rows], [])


def test_a_delta_is_fitted_to_the_scores_that_it_will_give(base: FilterModel) -> None:
    rows = of_product(5)
    long_texts = [" ".join(rows.texts[i : i + 40]) for i in range(20)]
    long_rows = labelled_posts(
        "product",
        "product",
        [LabelledRow(text, i % 2, f"a{i}") for i, text in enumerate(long_texts)],
    )
    trainer = local_model._DeltaTrainer(base, long_rows)
    every = np.ones(len(long_rows), dtype=np.bool_)
    fitted = trainer.raw_scores(trainer.fit(every), every)
    served = fit_delta(base, long_rows).raw_scores(PostBatch(long_rows.posts))
    np.testing.assert_allclose(served, fitted, rtol=1e-2, atol=1e-2)
