"""Measure a filter on rows that neither trained nor tuned it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.features.corpus import Corpus
from feedmill.features.measure import area, recall_at, share
from feedmill.features.model import StackedText
from feedmill.features.text import TextBatch

HIDE_AT, DEMOTE_AT = 0.9, 0.6


def judge(
    model: StackedText, labelled: Sequence[Corpus], clean: Sequence[Corpus]
) -> dict[str, float]:
    """Return the metrics of a card: on the judge parts only.

    Per labelled set: AUC, recall and false alarms at the shipped thresholds; per ordinary source:
    the shares hidden and demoted (or hidden), all rows, and without those flagged over_18.
    """
    metrics: dict[str, float] = {}
    for source in labelled:
        held = source.part("judge")
        metrics |= _labelled(source.source, scores_of(model, held), held.labels == 1)
    for source in clean:
        held = source.part("judge")
        scores = scores_of(model, held)
        metrics[f"{source.source}.rows"] = float(len(held))
        metrics[f"{source.source}.hidden"] = share(scores >= HIDE_AT)
        metrics[f"{source.source}.demoted_or_hidden"] = share(scores >= DEMOTE_AT)
        if (held.labels == 1).any():
            flagged = held.labels == 1
            metrics[f"{source.source}.not_over18.hidden"] = share(scores[~flagged] >= HIDE_AT)
    return metrics


def scores_of(model: StackedText, rows: Corpus) -> npt.NDArray[np.float64]:
    """Score a corpus."""
    return model.score_batch(TextBatch(rows.texts))


def _labelled(
    name: str, scores: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]
) -> dict[str, float]:
    return {
        f"{name}.rows": float(len(scores)),
        f"{name}.auc": area(scores, bad),
        f"{name}.recall_at_0.6": share(scores[bad] >= DEMOTE_AT),
        f"{name}.recall_at_0.9": share(scores[bad] >= HIDE_AT),
        f"{name}.fine_demoted_or_hidden": share(scores[~bad] >= DEMOTE_AT),
        f"{name}.fine_hidden": share(scores[~bad] >= HIDE_AT),
        f"{name}.recall_at_1_percent": recall_at(scores, bad, 0.01),
    }
