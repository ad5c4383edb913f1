"""Measure filters on rows that neither trained nor tuned them.

``python -m feedmill.filters.judge --data ../shared/data`` measures the shipped three together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.corpus import Corpus
from feedmill.features.measure import area, recall_at, share
from feedmill.features.model import StackedText
from feedmill.features.sets import ordinary
from feedmill.features.text import TextBatch
from feedmill.filters.registry import FILTERS, load_text

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


def unseen(model: StackedText, source: Corpus) -> dict[str, float]:
    """Return the metrics on all of a labelled set that `model` was trained without."""
    scores, bad = scores_of(model, source), source.labels == 1
    return {
        f"trained_without_{source.source}.auc": area(scores, bad),
        f"trained_without_{source.source}.recall_at_0.6": share(scores[bad] >= DEMOTE_AT),
        f"trained_without_{source.source}.recall_at_0.9": share(scores[bad] >= HIDE_AT),
        f"trained_without_{source.source}.fine_demoted_or_hidden": share(scores[~bad] >= DEMOTE_AT),
    }


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


def together(models: Sequence[StackedText], clean: Sequence[Corpus]) -> dict[str, dict[str, float]]:
    """Return per ordinary source the shares that any of the filters hides, or else demotes."""
    table = {}
    for source in clean:
        held = source.part("judge")
        scores = np.stack([scores_of(model, held) for model in models])
        worst = scores.max(axis=0)
        hidden = worst >= HIDE_AT
        demoted = (worst >= DEMOTE_AT) & ~hidden
        fine = held.labels == 0
        table[source.source] = {
            "rows": float(len(held)),
            "hidden": share(hidden),
            "demoted": share(demoted),
            "hidden, not over_18": share(hidden[fine]),
            "demoted, not over_18": share(demoted[fine]),
        }
    return table


def as_markdown(table: dict[str, dict[str, float]]) -> str:
    """Return the table of `together` as a page."""
    columns = list(next(iter(table.values())))
    lines = [
        "# The three filters together on ordinary posts",
        "",
        "Rows that trained and tuned nothing (whole subreddits, pages, authors), at the shipped",
        "thresholds: hidden at 0.9, demoted at 0.6. `python -m feedmill.filters.judge` made it.",
        "The recipes were changed once after a first look at these rows; each card says how.",
        "",
        "| source | " + " | ".join(columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for source, row in table.items():
        cells = [f"{row['rows']:.0f}", *(f"{100 * row[c]:.2f} %" for c in columns[1:])]
        lines.append(f"| {source} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the shipped filters together; print the table, and write it with ``--out``."""
    parser = argparse.ArgumentParser(description="Judge the filters together.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    models = [load_text(name, options.store) for name in FILTERS]
    page = as_markdown(together(models, ordinary(options.data)))
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
