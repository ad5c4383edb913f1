"""What few labels of a product's own are worth: a base that never saw the source, and a delta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts, drop_leaked
from feedmill.training.evaluation.cross_validation import LeftOut
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.metrics import ranking
from feedmill.training.local_model import fit_delta
from feedmill.training.training_data import TrainingData

DRAWS = 10
LABELS = (100, 200, 400)
_FEW_GROUPS = 6
OTHERS = "with labels of other groups"


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


def evaluate_local(data: TrainingData, left_out: LeftOut, *, look: bool) -> list[LocalReport]:
    """Evaluate 100, 200 and 400 labels of a data set on a model that was trained without it.

    Of a source with few groups each group is judged in turn, with labels of the others, then with
    labels of all; of another source the test rows are judged, or without a `look` the validation
    rows, with labels of the rest.
    """
    rows, base = data.labelled[left_out.index].rows, left_out.model
    rows = drop_leaked(rows if look else rows.without_test(), left_out.training)
    raw = base.raw_scores(PostBatch(rows.posts))
    reports = []
    for protocol, cases in _protocols(rows, look=look):
        before = float(np.mean([_recall(raw, rows, case.judged) for case in cases]))
        for labels in LABELS:
            after = [_recall_after(base, rows, raw, cases, labels, seed) for seed in range(DRAWS)]
            figure = Figure(float(np.mean(after)), min(after), max(after))
            lexicon = left_out.mode != "left out"
            report = LocalReport(rows.source, protocol, lexicon, DRAWS, labels, before, figure)
            reports.append(report)
    return reports


class _Case(NamedTuple):
    """Which rows may be labelled, and which are judged, unless they are labelled."""

    labelled: Mask
    judged: Mask


def _protocols(rows: LabelledPosts, *, look: bool) -> list[tuple[str, list[_Case]]]:
    names = sorted(set(rows.groups))
    if len(names) < _FEW_GROUPS:
        groups, every = np.array(rows.groups), np.ones(len(rows), dtype=np.bool_)
        masks = [np.asarray(groups == name) for name in names]
        return [
            (f"{len(names)} groups, {OTHERS}", [_Case(~mask, mask) for mask in masks]),
            (f"{len(names)} groups, with labels of all", [_Case(every, mask) for mask in masks]),
        ]
    split = "test" if look else "validation"
    judged = np.asarray(rows.splits == split)
    return [(f"{split} rows, {OTHERS}", [_Case(~judged, judged)])]


def _draw(rows: LabelledPosts, among: Mask, labels: int, random: np.random.Generator) -> Mask:
    """Draw labels among the rows of a mask, half of them violating, as far as there are so many."""
    chosen = np.zeros(len(rows), dtype=np.bool_)
    for kind in (0, 1):
        candidates = np.flatnonzero(among & (rows.labels == kind))
        chosen[random.permutation(candidates)[: labels // 2]] = True
    return chosen


def _recall_after(
    base: FilterModel,
    rows: LabelledPosts,
    raw: Values,
    cases: Sequence[_Case],
    labels: int,
    seed: int,
) -> float:
    """Return the mean recall over the cases, each after labels were drawn for it."""
    random = np.random.default_rng(seed)
    recalls = []
    for case in cases:
        drawn = _draw(rows, case.labelled, labels, random)
        model, judged = fit_delta(base, rows.where(drawn)), case.judged & ~drawn
        scores = np.array(raw)
        scores[judged] = model.raw_scores(PostBatch(rows.where(judged).posts))
        recalls.append(_recall(scores, rows, judged))
    return float(np.mean(recalls))


def _recall(scores: Values, rows: LabelledPosts, judged: Mask) -> float:
    ones = np.ones((1, int(judged.sum())))
    return float(ranking(scores[judged], rows.labels[judged] == 1, ones)[0, 2])
