"""Runs of judging: one filter on given files, or every filter in every mode on the data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from feedmill.filters.registry import FILTERS, STORE, load
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.text_model import TextModel
from feedmill.training.datasets.known import LIAR
from feedmill.training.evaluation.filters import (
    DatasetReport,
    OrdinaryReport,
    TrainingBudget,
    cross_validate,
    evaluate_ordinary,
    evaluate_stored,
    leave_one_dataset_out,
)
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    as_markdown,
    plot,
    plot_name,
)
from feedmill.training.training_data import TrainingData, read_training_data

_FOLDS = 5


@dataclass(frozen=True)
class EvaluationModes:
    """How to judge: the stored model of `store` (None: the shipped), in folds, by leaving out."""

    stored: bool = True
    store: Path | None = None
    folds: int = 0
    left_out: bool = False


def evaluate_one(
    name: str, data: TrainingData, ways: EvaluationModes, cost: TrainingBudget
) -> Evaluation:
    """Judge one filter; with a stored model also what all filters do to the ordinary posts."""
    sets: list[DatasetReport] = []
    alone: list[OrdinaryReport] = []
    together: list[OrdinaryReport] = []
    card = None
    if ways.stored:
        model, card = _stored(name, ways.store)
        sets += evaluate_stored(model, card, data)
        if data.ordinary:
            alone = evaluate_ordinary([(model, card)], data.ordinary)
            others = [_or_shipped(one, ways.store) for one in FILTERS if one != name]
            together = evaluate_ordinary([(model, card), *others], data.ordinary)
    if ways.folds:
        for index in range(len(data.labelled)):
            sets.append(cross_validate(name, data, index, ways.folds, cost))
    if ways.left_out:
        sets += leave_one_dataset_out(name, data, replace(cost, alone=False))
    return Evaluation([FilterReport(name, card, sets, alone)], together)


def evaluate_all(
    folder: Path, store: Path | None, cost: TrainingBudget, told: Callable[[str], None]
) -> Evaluation:
    """Judge every filter of a store (the shipped one if None) in every mode; minutes of work."""
    stored = {name: _stored(name, store) for name in FILTERS}
    reports = []
    for name in FILTERS:
        data = read_training_data(name, [str(folder)], [])
        told(f"{name}: the stored model")
        sets = evaluate_stored(*stored[name], data)
        for index, sample in enumerate(data.labelled):
            told(f"{name}: folds of {sample.rows.source}")
            for way in (cost, replace(cost, alone=True)):
                sets.append(cross_validate(name, data, index, _FOLDS, way))
        if len(data.labelled) > 1:
            told(f"{name}: each set left out")
            sets += leave_one_dataset_out(name, data, cost)
        if name == "misinformation" and (folder / LIAR.file).exists():
            told(f"{name}: folds of {LIAR.file}, for research only")
            liar = read_training_data(name, [str(folder / LIAR.file)], []).labelled
            research = replace(data, labelled=liar)
            sets.append(cross_validate(name, research, 0, _FOLDS, replace(cost, alone=True)))
        ordinary = evaluate_ordinary([stored[name]], data.ordinary)
        reports.append(FilterReport(name, stored[name][1], sets, ordinary))
    together = evaluate_ordinary(list(stored.values()), data.ordinary)
    return Evaluation(reports, together)


def _stored(name: str, store: Path | None) -> tuple[TextModel, ModelCard]:
    return load(name, store), read_card(store or STORE, name)


def _or_shipped(name: str, store: Path | None) -> tuple[TextModel, ModelCard]:
    """Load a filter; the shipped one where the store has none of that name."""
    return _stored(name, store if store and (store / f"{name}.json").exists() else None)


def write_report(found: Evaluation, folder: Path) -> None:
    """Write ``evaluation.json``, ``evaluation.md`` and the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (folder / "evaluation.json").write_bytes(text + b"\n")
    (folder / "evaluation.md").write_text(as_markdown(found), encoding="utf-8")
    for report in found.filters:
        for one in report.sets:
            path = folder / plot_name(report.filter, one)
            path.write_text(plot(report.filter, one), encoding="utf-8")
