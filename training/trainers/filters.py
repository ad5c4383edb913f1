"""Train a filter by its recipe: what `feedmill train` calls for every filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from feedmill.events.errors import UsageError
from feedmill.filters.model import STORE, FilterSpec
from feedmill.models.artifact import DataUse, ModelCard, read_card, save_artifact, sha256_of
from feedmill.models.store_files import Store
from feedmill.models.text_model import TextModel
from feedmill.training.arrays import Values
from feedmill.training.evaluation.filter_metrics import FilterMetrics
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.side_by_side import ordinary_figures, unseen_figures
from feedmill.training.evaluation.stored_models import evaluate_stored, ordinary_rows
from feedmill.training.fitting.filters import FittedFilter, fit
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.local_model import check_labels, fit_local, local_parameters
from feedmill.training.progress import Tell, silent
from feedmill.training.provenance import (
    ETHICS,
    FACTORS,
    INTENDED_USE,
    MODEL_LICENCE,
    code_version,
    library_versions,
)
from feedmill.training.recipes import Recipe
from feedmill.training.training_data import TrainingData, check_enough, recipe_for

_OF_BASE = ", of the base"
_NO_ORDINARY_POSTS = (
    "no ordinary posts were given: its thresholds were chosen on the fine posts of its own sets"
)


@dataclass(frozen=True)
class TrainingRun:
    """How to train.

    Attributes
    ----------
    day, command
        What the card states.
    look
        Whether to measure on the test rows.
    keeps_rows
        Whether the store keeps the rows, as snapshots that the card names.
    tell
        Told what is done now.
    """

    day: str
    command: str
    look: bool = False
    keeps_rows: bool = True
    tell: Tell = silent


class FittedChallenger(NamedTuple):
    """What `training.continual` fitted, and the figures of its test."""

    fitted: FittedFilter
    metrics: Mapping[str, float]


def train(spec: FilterSpec, data: TrainingData, out: Store, run: TrainingRun) -> ModelCard:
    """Train and evaluate a filter, and save it into the store `out`.

    The same data give the same sha256.  Rows of the test split do not train it.

    Raises `UsageError`: there are too few rows, or the recipe does not fit the filter.
    """
    recipe = recipe_for(spec, data.labelled)
    _check_evidence(spec, recipe)
    train_rows = [dataset.rows.without_test() for dataset in data.labelled]
    check_enough(train_rows, data.ordinary_posts)
    fitted = fit(recipe, train_rows, data.ordinary_posts, run.tell)
    card = _card(spec, recipe, data, fitted)
    return _measure_and_save(spec, data, fitted, card, out, run)


def train_local(
    spec: FilterSpec, base: Store | None, data: TrainingData, out: Store, run: TrainingRun
) -> ModelCard:
    """Train a stored filter on a product's own labels, the shipped one where `base` is None.

    Raises `UsageError`: there are too few labels or ordinary posts; `BadArtifact`: the stored model
    cannot be read.
    """
    model, base_card = spec.load(base), read_card(base or STORE, spec.name)
    recipe = recipe_for(spec, data.labelled)
    labelled = [dataset.rows.without_test() for dataset in data.labelled]
    ordinary = [dataset.rows.without_test() for dataset in data.ordinary]
    check_labels(labelled, ordinary)
    run.tell("fitting", 0, 1)
    fitted = fit_local(model, recipe, labelled, ordinary)
    card = _local_card(spec, recipe, data, fitted, base_card)
    return _measure_and_save(spec, data, fitted, card, out, run)


def save_challenger(
    spec: FilterSpec,
    base: Store | None,
    data: TrainingData,
    challenger: FittedChallenger,
    out: Store,
    run: TrainingRun,
) -> ModelCard:
    """Save a model that learned all rows of `data`, without installing it.

    Raises `BadArtifact`: the card of the stored model that it started from cannot be read.
    """
    fitted, recipe = challenger.fitted, recipe_for(spec, data.labelled)
    card = _local_card(spec, recipe, data, fitted, read_card(base or STORE, spec.name))
    content, own_sets = fitted.content(spec.name), len(data.labelled) + len(data.ordinary)
    card = msgspec.structs.replace(
        card,
        sha256=sha256_of(content),
        trained_on=run.day,
        command=run.command,
        metrics=dict(challenger.metrics),
        # None of its own rows was kept from it.
        data=[
            msgspec.structs.replace(use, split="") if n < own_sets else use
            for n, use in enumerate(card.data)
        ],
    )
    card = _with_snapshots(card, data, out, run)
    save_artifact(out, card, content, as_newest=False)
    return card


def _measure_and_save(
    spec: FilterSpec,
    data: TrainingData,
    fitted: FittedFilter,
    card: ModelCard,
    out: Store,
    run: TrainingRun,
) -> ModelCard:
    run.tell("measuring")
    content = fitted.content(spec.name)
    card = msgspec.structs.replace(
        card, sha256=sha256_of(content), trained_on=run.day, command=run.command
    )
    model = fitted.model(spec.name, card.version, spec.believed_self_labels)
    figures = _figures(model, card, data, fitted.unseen, look=run.look)
    card = msgspec.structs.replace(
        card,
        metrics={name: figure.value for name, figure in figures.items()},
        intervals={name: (figure.low, figure.high) for name, figure in figures.items()},
    )
    run.tell("storing the rows and the model")
    card = _with_snapshots(card, data, out, run)
    save_artifact(out, card, content)
    return card


def _with_snapshots(card: ModelCard, data: TrainingData, out: Store, run: TrainingRun) -> ModelCard:
    """Keep the rows of each data set, before anything names them; return the card that does."""
    if not run.keeps_rows:
        return card
    datasets = (*data.labelled, *data.ordinary)
    kept = [
        msgspec.structs.replace(use, snapshot=dataset.keep(out))
        for use, dataset in zip(card.data, datasets, strict=False)
    ]
    return msgspec.structs.replace(card, data=[*kept, *card.data[len(kept) :]])


def _local_card(
    spec: FilterSpec,
    recipe: Recipe,
    data: TrainingData,
    fitted: FittedFilter,
    base_card: ModelCard,
) -> ModelCard:
    """Return what `_card` does, of a model that was fitted to the labels of one product."""
    card = _card(spec, recipe, data, fitted)
    return msgspec.structs.replace(
        card,
        summary=f"{base_card.summary}  Fitted to the labels of one product.",
        data=[*card.data, *uses_of_base(base_card)],
        recipe="local",
        parameters={"base": base_card.sha256, **local_parameters(recipe)},
    )


def uses_of_base(card: ModelCard) -> list[DataUse]:
    """Return what a model learned from, for the card of a model that starts from it."""
    return [
        # Their snapshots, if there are any, lie in the store of the base.
        msgspec.structs.replace(
            use, role=f"{use.role.removesuffix(_OF_BASE)}{_OF_BASE}", snapshot=None
        )
        for use in card.data
    ]


def _card(spec: FilterSpec, recipe: Recipe, data: TrainingData, fitted: FittedFilter) -> ModelCard:
    """Return what a card states but sha256, day, command and metrics."""
    rows = fitted.rows_by_source
    uses = [
        dataset.use(rows[dataset.rows.source], role)
        for role, datasets in (("labelled", data.labelled), ("ordinary", data.ordinary))
        for dataset in datasets
    ]
    return ModelCard(
        name=spec.name,
        sha256="",
        trained_on="",
        summary=recipe.summary,
        features=len(fitted.features),
        data=uses,
        metrics={},
        weaknesses=[*recipe.weaknesses, *([] if data.ordinary else [_NO_ORDINARY_POSTS])],
        command="",
        licence=MODEL_LICENCE,
        intended_use=INTENDED_USE,
        factors=FACTORS,
        ethics=ETHICS,
        code=code_version(),
        libraries=library_versions(),
        recipe=spec.recipe,
        parameters=_parameters(recipe),
        seed=SEED,
    )


def _check_evidence(spec: FilterSpec, recipe: Recipe) -> None:
    if recipe.evidence != spec.evidence:
        raise UsageError(
            f"filter `{spec.name}` reads {_evidence(spec)}, but this training is of a model that "
            f"reads {_evidence(recipe)}; such a model can be evaluated, not stored"
        )


def _evidence(reader: FilterSpec | Recipe) -> str:
    return ", ".join([*reader.evidence.views, *reader.evidence.groups])


def _parameters(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe, without what the card has elsewhere."""
    stated_elsewhere = {"summary", "weaknesses", "datasets"}
    settings: dict[str, Any] = msgspec.to_builtins(recipe, enc_hook=str)
    return {name: value for name, value in settings.items() if name not in stated_elsewhere}


def _figures(
    model: TextModel, card: ModelCard, data: TrainingData, unseen: Values, *, look: bool
) -> dict[str, Figure]:
    """Return a card's figures, at the default thresholds.

    Those called unseen are of the rows that trained it, by models that had not learned them.
    Without a look the others are of the ordinary posts that chose the thresholds alone.
    """
    figures = unseen_figures(unseen, data)
    if look:
        with_test = tuple(d for d in data.labelled if (d.rows.splits == "test").any())
        labelled = replace(data, labelled=with_test)
        for report in evaluate_stored(model, card, labelled, look=True).reports:
            figures |= _of_report(report.name, report.metrics)
    rows = ordinary_rows([card], data.ordinary, look=look)
    if rows:
        suffix = "" if look else ".validation"
        figures |= ordinary_figures(model, rows, suffix)
    return figures


def _of_report(name: str, metrics: FilterMetrics) -> dict[str, Figure]:
    named = {field: getattr(metrics, field) for field in FilterMetrics.__struct_fields__}
    return {f"{name}.{field}": v for field, v in named.items() if isinstance(v, Figure)}
