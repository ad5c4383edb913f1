"""Train quality: the mean rating that people would give a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from feedmill.events.errors import UsageError
from feedmill.models.artifact import (
    Artifact,
    DataUse,
    ModelCard,
    pack_artifact,
    save_artifact,
    sha256_of,
    sha256_of_file,
)
from feedmill.models.store_files import Store
from feedmill.models.text_model import (
    FEATURES,
    LinearText,
    linear_text_arrays,
    model_arrays,
    tree_arrays,
)
from feedmill.rankers.quality import QualityModel
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.ranker_datasets import RatedDataset, read_own_ratings
from feedmill.training.datasets.snapshots import SnapshotSource, save_snapshot
from feedmill.training.evaluation.side_by_side import rating_figures
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.fitting.quality import (
    FittedQuality,
    RatedTexts,
    fit_quality,
    with_delta,
)
from feedmill.training.provenance import MODEL_LICENCE, code_version, library_versions
from feedmill.training.recipes import OWN_PENALTIES, OWN_RATINGS, QUALITY, QualityRecipe
from feedmill.training.trainers.filters import TrainingRun, uses_of_base
from feedmill.training.training_data import Dataset

LEAST_LABELS, LEAST_AUTHORS = 100, 20
_OWN_SUMMARY = "The mean rating, from 0 to 1, that raters of the product would give a text."
_MOVED = "  Moved by the ratings of one product."
_OWN_LABELS = "knows the ratings of one product's raters, of the posts that they were given to rate"


def train(
    folder: Path,
    out: Store,
    day: str,
    own_ratings: Sequence[str] = (),
    keeps_rows: bool = True,
) -> ModelCard:
    """Train the quality ranker on the data sets in `folder`, and save it into the store `out`.

    Rows of the test split train nothing.  `day` is what the card states.  `own_ratings` are files
    with ratings of the product's posts (`parse_table`), one at most: one more construct.  With
    `keeps_rows` the store keeps the training rows as snapshots.  Raises `UsageError` where a file
    is missing or cannot be read.
    """
    own = [read_own_ratings(given) for given in own_ratings]
    rated = read_rated(folder, QUALITY)
    rated += [
        RatedTexts(OWN_RATINGS, OWN_PENALTIES, posts.without_test(), None) for posts, _ in own
    ]
    fitted = fit_quality(rated, QUALITY.helper_penalty, QUALITY.register_c, QUALITY.trees)
    content = pack(fitted)
    uses = [_use(folder, fitted, dataset) for dataset in _datasets(QUALITY)]
    uses += [use for _, use in own]
    if keeps_rows:
        uses = [
            _kept(out, use, rows) for use, rows in zip(uses, _training_rows(rated), strict=True)
        ]
    card = _card(uses, len(fitted.constructs), sha256_of(content), day)
    save_artifact(out, card, content)
    return card


def train_on_labels(
    labels: Dataset,
    folder: Path | None,
    out: Store,
    day: str,
    command: str,
    keeps_rows: bool = True,
) -> ModelCard:
    """Train the quality ranker on labels of the product's posts, and save it into the store `out`.

    The rating of a post is the mean of its labels, 1 for good.  Where `folder` is given, the data
    sets in it teach their constructs as well.  With `keeps_rows` the store keeps the training rows
    as snapshots.  Raises `UsageError` where there are too few labels.
    """
    own = labels.rows.without_test()
    _check_enough(own)
    rated = [] if folder is None else read_rated(folder, QUALITY)
    rated.append(RatedTexts(OWN_RATINGS, OWN_PENALTIES, own, None))
    fitted = fit_quality(rated, QUALITY.helper_penalty, QUALITY.register_c, QUALITY.trees)
    content = pack(fitted)
    uses = [] if folder is None else [_use(folder, fitted, d) for d in _datasets(QUALITY)]
    uses.append(labels.use(fitted.rows[own.source], "rated"))
    if keeps_rows:
        rows = _training_rows(rated)
        uses = [_kept(out, use, some) for use, some in zip(uses, rows, strict=True)]
    card = _card(uses, len(fitted.constructs), sha256_of(content), day)
    measured = rating_figures(own, fitted.unseen[own.source])
    card = msgspec.structs.replace(card, command=command, metrics={**card.metrics, **measured})
    if folder is None:
        card = msgspec.structs.replace(card, summary=_OWN_SUMMARY, weaknesses=[_OWN_LABELS])
    save_artifact(out, card, content)
    return card


class MovedModel(NamedTuple):
    """What labels add to a version: its card, its artifact, and the e-values of the test."""

    card: ModelCard
    artifact: Artifact
    delta: LinearText
    e_values: dict[str, float]


def save_challenger(moved: MovedModel, labels: Dataset, out: Store, run: TrainingRun) -> ModelCard:
    """Save a version that the posts of `labels` have moved, without installing it."""
    champion, artifact = moved.card, moved.artifact
    constructs = with_delta(QualityModel.of(artifact), moved.delta).constructs
    ratings = {construct.name: construct.rating for construct in constructs}
    metadata = {"name": champion.name, "constructs": [*ratings]}
    arrays = {**artifact.arrays, **linear_text_arrays(ratings)}
    content = pack_artifact(metadata, FEATURES, arrays)
    # None of its own rows was kept from it.
    use = msgspec.structs.replace(labels.use(len(labels.rows), "rated"), split="")
    if run.keeps_rows:
        use = _kept(out, use, labels.rows)
    card = msgspec.structs.replace(
        champion,
        sha256=sha256_of(content),
        trained_on=run.day,
        summary=f"{champion.summary.removesuffix(_MOVED)}{_MOVED}",
        data=[use, *uses_of_base(champion)],
        metrics=moved.e_values,
        intervals={},
        command=run.command,
        code=code_version(),
        libraries=library_versions(),
        recipe="delta",
        parameters={"base": champion.sha256, "penalty": OWN_PENALTIES.ngrams},
    )
    save_artifact(out, card, content, as_newest=False)
    return card


def _check_enough(own: LabelledPosts) -> None:
    authors = len(set(own.groups))
    if len(own) < LEAST_LABELS or authors < LEAST_AUTHORS:
        raise UsageError(
            f"too few labels of quality: expected {LEAST_LABELS} labelled posts of {LEAST_AUTHORS}"
            f" authors to train on, found {len(own)} of {authors}; a fifth of the authors is kept"
            " for tests"
        )
    if own.labels.min() == own.labels.max():
        raise UsageError(
            f"all {len(own)} labels of quality are {own.labels[0]:g}: nothing tells good posts"
            " from bad ones"
        )


def read_rated(folder: Path, recipe: QualityRecipe) -> list[RatedTexts]:
    """Read the training rows of each construct; raises `UsageError`."""
    return [
        RatedTexts(
            construct.name,
            construct.penalties,
            construct.dataset.load(folder).without_test(),
            construct.helped_by.load(folder).without_test() if construct.helped_by else None,
        )
        for construct in recipe.constructs
    ]


def pack(fitted: FittedQuality) -> bytes:
    """Return the bytes of the artifact."""
    ratings = {construct.name: construct.rating for construct in fitted.constructs}
    registers = {f"register_{c.name}": c.register for c in fitted.constructs if c.register}
    arrays = {
        **linear_text_arrays(ratings),
        **model_arrays(registers),
        **tree_arrays(fitted.trees),
    }
    return pack_artifact({"name": "quality", "constructs": [*ratings]}, FEATURES, arrays)


def _datasets(recipe: QualityRecipe) -> list[RatedDataset]:
    pairs = [(construct.dataset, construct.helped_by) for construct in recipe.constructs]
    return [dataset for pair in pairs for dataset in pair if dataset]


def _training_rows(rated: Sequence[RatedTexts]) -> list[LabelledPosts]:
    """Return the rows of each data set, in the order of `_datasets`, then the product's own."""
    pairs = [(texts.posts, texts.helper) for texts in rated]
    return [rows for pair in pairs for rows in pair if rows is not None]


def _kept(store: Store, use: DataUse, rows: LabelledPosts) -> DataUse:
    source = SnapshotSource(use.file, use.sha256, use.licence, rows.source)
    return msgspec.structs.replace(use, snapshot=save_snapshot(store, rows, source))


def _use(folder: Path, fitted: FittedQuality, dataset: RatedDataset) -> DataUse:
    file = f"{dataset.file}.csv.gz"
    digest = sha256_of_file(folder / file)
    rows = fitted.rows[dataset.source]
    return DataUse(file, rows, dataset.licence, "rated", digest, dataset.split_rule)


def _card(uses: list[DataUse], constructs: int, sha256: str, day: str) -> ModelCard:
    return ModelCard(
        name="quality",
        sha256=sha256,
        trained_on=day,
        summary="The mean rating, from 0 to 1, that people would give a text: a headline by how "
        "little it baits for clicks, an answer by how much it helps, weighed by which of the two "
        "the text is written like.",
        features=len(FEATURES),
        data=uses,
        metrics={"constructs": float(constructs)},
        weaknesses=[
            "knows headlines of news on Twitter, 2015, and answers in one forum, 2011-2015: of "
            "other posts it says how they would be rated if they were one of these",
            "raters agree little on a single headline; of the order of headlines it knows a part",
            "says nothing of truth, pictures or the author; English only",
        ],
        command="feedmill train quality --data DATA",
        intended_use=(
            "to rank the posts of a newsfeed beside other objectives",
            "not to judge authors or to grade people's writing",
        ),
        factors=("the construct: figures are given for headlines and for answers",),
        ethics=("raters of one time and place; what they value is learned with their prejudices",),
        licence=MODEL_LICENCE,
        code=code_version(),
        libraries=library_versions(),
        recipe="quality",
        parameters={
            "helper_penalty": QUALITY.helper_penalty,
            "register_c": QUALITY.register_c,
            "trees": msgspec.to_builtins(QUALITY.trees),
        },
        seed=SEED,
    )
