"""Train one filter: what `feedmill train` calls for spam, nsfw and misinformation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from feedmill.models.artifact import DataUse, ModelCard, save_artifact, sha256_of
from feedmill.models.text_model import TextModel
from feedmill.training.evaluation.filters import (
    FilterMetrics,
    evaluate_ordinary,
    evaluate_stored,
    leave_one_dataset_out,
)
from feedmill.training.fitting.filters import fit
from feedmill.training.training_data import TrainingData, check_enough, recipe_for

_UNTUNED = (
    "no ordinary posts were given: its thresholds were chosen on the fine posts of its own sets"
)


def train(
    name: str, data: TrainingData, out: Path, *, day: str, command: str, left_out: bool = False
) -> ModelCard:
    """Train, judge and save the filter `name` into the store `out`; raises `UsageError`.

    The same data give the same sha256.  Rows set apart to judge do not train; with `left_out`,
    further models show how it does on each set if that is left out of training.
    """
    recipe = recipe_for(name, data.labelled)
    learn = [s.rows.where(s.rows.parts != "judge") for s in data.labelled]
    check_enough(learn, data.clean)
    fitted = fit(recipe, learn, data.clean)
    content = fitted.content(name)
    digest = sha256_of(content)
    uses = [s.use(len(rows), "labelled") for s, rows in zip(data.labelled, learn, strict=True)]
    card = ModelCard(
        name=name,
        sha256=digest,
        trained_on=day,
        summary=recipe.summary,
        features=len(fitted.features),
        data=[*uses, *_ordinary_uses(data, fitted.rows)],
        metrics={},
        weaknesses=[*recipe.weaknesses, *([] if data.ordinary else [_UNTUNED])],
        command=command,
    )
    metrics = _metrics(fitted.model(name, digest[:12]), card, data)
    if left_out and len(data.labelled) > 1:
        for report in leave_one_dataset_out(name, data):
            metrics |= _flat(f"trained_without_{report.name}", report.measures)
    card = msgspec.structs.replace(card, metrics=metrics)
    save_artifact(out, card, content)
    return card


def _ordinary_uses(data: TrainingData, trained: dict[str, int]) -> list[DataUse]:
    return [s.use(trained[s.rows.source], "ordinary") for s in data.ordinary]


def _metrics(model: TextModel, card: ModelCard, data: TrainingData) -> dict[str, float]:
    """Return a card's metrics: on the judge parts only, at the shipped thresholds."""
    metrics: dict[str, float] = {}
    some = tuple(s for s in data.labelled if (s.rows.parts == "judge").any())
    for report in evaluate_stored(model, card, replace(data, labelled=some)):
        metrics |= _flat(report.name, report.measures)
    for source in evaluate_ordinary([(model, card)], data.ordinary):
        metrics |= {
            f"{source.source}.rows": float(source.rows),
            f"{source.source}.hidden": source.hidden,
            f"{source.source}.demoted_or_hidden": source.hidden + source.demoted,
            f"{source.source}.not_flagged.hidden": source.not_flagged_hidden,
        }
    return metrics


def _flat(name: str, measures: FilterMetrics) -> dict[str, float]:
    return {
        f"{name}.{field}": float(getattr(measures, field))
        for field in FilterMetrics.__struct_fields__
    }
