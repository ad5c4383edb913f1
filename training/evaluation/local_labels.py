"""What few labels of a product's own are worth: a base that never saw the source, and a delta."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel
from feedmill.filters.spec import FilterSpec
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.cross_validation import TrainingBudget, train_without
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.metrics import ranking
from feedmill.training.local_model import fit_delta
from feedmill.training.training_data import TrainingData

DRAWS = 10
LABELS = (100, 200, 400)
_FEW_GROUPS = 6


class LocalReport(msgspec.Struct, frozen=True):
    """The recall at 1 % of the fine posts after some labels of a source left out of the base.

    Attributes
    ----------
    name, draws, labels
        The source, how often labels were drawn, how many each time, half of them violating.
    protocol
        Which rows were labelled and which judged.
    lexicon
        Whether base and delta read the hand-written lexicon.
    base
        The recall without labels.
    recall
        The mean over the draws, and the lowest and the highest.
    """

    name: str
    protocol: str
    lexicon: bool
    draws: int
    labels: int
    base: float
    recall: Figure


def evaluate_local(
    spec: FilterSpec, data: TrainingData, index: int, budget: TrainingBudget, *, look: bool
) -> list[LocalReport]:
    """Evaluate 100, 200 and 400 labels of one data set on a base that learned from the others.

    Of a source with few groups each group is judged in turn, with labels of the others; of another
    the test rows are judged, or without a `look` the validation rows, with labels of the rest.
    Raises `UsageError`.
    """
    rows = data.labelled[index].rows if look else data.labelled[index].rows.without_test()
    others = (*data.labelled[:index], *data.labelled[index + 1 :])
    base, training = train_without(
        spec, TrainingData(others, data.ordinary), data.labelled[index].rows, budget
    )
    rows = drop_leaked(rows, training)
    protocol, judged_sets = _judged(rows, look=look)
    raw = base.raw_scores(PostBatch(rows.posts))
    before = float(np.mean([_recall(raw, rows, judged) for judged in judged_sets]))
    reports = []
    for labels in LABELS:
        after = [_recall_after(base, rows, raw, judged_sets, labels, seed) for seed in range(DRAWS)]
        figure = Figure(float(np.mean(after)), min(after), max(after))
        reports.append(
            LocalReport(rows.source, protocol, budget.hand_written, DRAWS, labels, before, figure)
        )
    return reports


def _judged(rows: LabelledPosts, *, look: bool) -> tuple[str, list[Mask]]:
    names = sorted(set(rows.groups))
    if len(names) < _FEW_GROUPS:
        groups = np.array(rows.groups)
        masks = [np.asarray(groups == name) for name in names]
        return f"each of {len(names)} groups, with labels of the others", masks
    split = "test" if look else "validation"
    return f"the {split} rows, with labels of other groups", [np.asarray(rows.splits == split)]


def _draw(
    rows: LabelledPosts, among: Mask, labels: int, random: np.random.Generator
) -> LabelledPosts:
    """Draw labels among the rows of a mask, half of them violating, as far as there are so many."""
    chosen = np.zeros(len(rows), dtype=np.bool_)
    for kind in (0, 1):
        candidates = np.flatnonzero(among & (rows.labels == kind))
        chosen[random.permutation(candidates)[: labels // 2]] = True
    return rows.where(chosen)


def _recall_after(
    base: FilterModel,
    rows: LabelledPosts,
    raw: Values,
    judged_sets: Sequence[Mask],
    labels: int,
    seed: int,
) -> float:
    """Return the mean recall on the judged rows, each after labels of the rest were drawn."""
    random = np.random.default_rng(seed)
    recalls = []
    for judged in judged_sets:
        model = fit_delta(base, _draw(rows, ~judged, labels, random))
        scores = np.array(raw)
        scores[judged] = model.raw_scores(PostBatch(rows.where(judged).posts))
        recalls.append(_recall(scores, rows, judged))
    return float(np.mean(recalls))


def _recall(scores: Values, rows: LabelledPosts, judged: Mask) -> float:
    ones = np.ones((1, int(judged.sum())))
    return float(ranking(scores[judged], rows.labels[judged] == 1, ones)[0, 2])
