"""Train engagement: clicks from randomised headline tests, other reactions from public posts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.features.media import MEDIA_KINDS
from feedmill.models.artifact import (
    DataUse,
    ModelCard,
    pack_artifact,
    save_artifact,
    sha256_of,
    sha256_of_file,
)
from feedmill.models.store_files import Store
from feedmill.models.text_model import FEATURES, linear_text_arrays, tree_arrays
from feedmill.rankers.engagement import effect_arrays, media_arrays, sum_media
from feedmill.rankers.impressions import Impressions
from feedmill.training.datasets.headline_tests import (
    FILE,
    SPLIT_RULE,
    Arms,
    in_test_split,
    labelled_arms,
    read_arms,
)
from feedmill.training.datasets.impression_arms import check_enough
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.snapshots import (
    SnapshotSource,
    pack_impressions,
    save_impressions,
    save_snapshot,
)
from feedmill.training.fitting.engagement import FittedEngagement, fit_engagement, fit_impressions
from feedmill.training.fitting.ngram_models import SEED
from feedmill.training.provenance import MODEL_LICENCE, OWN_DATA, code_version, library_versions
from feedmill.training.recipes import ENGAGEMENT, EngagementRecipe

# The name on a card of what was counted from the topics.
_IMPRESSIONS = "impressions"
_OWN_RATE = (
    "its rate is that of the product's posts in these days, as they were ranked then: what was "
    "shown to few is known less"
)
_OWN_AUTHORS = (
    "no community or position; it has its own authors as hashes of their ids, with what each adds: "
    "whoever has an id can look it up; an author who begins later adds nothing until the next "
    "training"
)


def train(
    folder: Path,
    out: Store,
    day: str,
    own_ratings: Sequence[str] = (),
    keeps_rows: bool = True,
) -> ModelCard:
    """Train the engagement ranker on the data sets in `folder`, and save it into the store `out`.

    Rows of the test split train nothing.  `day` is what the card states.  With `keeps_rows` the
    store keeps the training rows as snapshots.  Raises `UsageError` where a file is missing, or
    ratings are given.
    """
    if own_ratings:
        raise UsageError("engagement learns from reactions, not from ratings")
    arms = read_arms(folder)
    reactions = {
        head.kind: head.dataset.load(folder, head.kind).without_test()
        for head in ENGAGEMENT.heads
        if head.dataset
    }
    training_arms = arms.where(~in_test_split(arms))
    fitted = fit_engagement(ENGAGEMENT, training_arms, reactions)
    content = pack(fitted)
    uses = _uses(folder, ENGAGEMENT, fitted)
    if keeps_rows:
        uses = [_kept(out, use, training_arms, reactions) for use in uses]
    card = _card(uses, fitted, sha256_of(content), day)
    save_artifact(out, card, content)
    return card


def _kept(
    store: Store, use: DataUse, arms: Arms, reactions: Mapping[str, LabelledPosts]
) -> DataUse:
    """Keep the rows of a head, whose role is its kind of reaction."""
    of_clicks = use.role not in reactions
    rows = labelled_arms(arms) if of_clicks else reactions[use.role]
    source = SnapshotSource(use.file, use.sha256, use.licence, rows.source)
    kept = save_snapshot(store, rows, source, arms.impressions if of_clicks else None)
    return msgspec.structs.replace(use, snapshot=kept)


def pack(fitted: FittedEngagement) -> bytes:
    """Return the bytes of the artifact."""
    metadata = {
        "name": "engagement",
        "base": fitted.base,
        "prior_weight": fitted.prior_weight,
        "head_weights": dict(fitted.head_weights),
    }
    arrays = linear_text_arrays(fitted.heads)
    arrays |= {**media_arrays(fitted.media), **tree_arrays(fitted.trees)}
    arrays |= effect_arrays(fitted.effects)
    return pack_artifact(metadata, FEATURES, arrays)


@dataclass(frozen=True)
class OwnRun:
    """Where a model of a product's own impressions is kept, and what its card states.

    `settings` say how the rows were made.  With `keeps_rows` the store keeps them as a snapshot.
    """

    out: Store
    day: str
    command: str
    settings: Mapping[str, Any]
    keeps_rows: bool = True


def train_on_impressions(rows: Impressions, run: OwnRun) -> ModelCard:
    """Train the engagement ranker on a product's own impressions, and save it.

    Raises `UsageError` where there are too few.
    """
    check_enough(rows)
    card, content = _own_card(rows, fit_impressions(ENGAGEMENT, rows), run)
    save_artifact(run.out, card, content)
    return card


def save_challenger(
    rows: Impressions, fitted: FittedEngagement, metrics: Mapping[str, float], run: OwnRun
) -> ModelCard:
    """Save a model that learned all impressions, with `metrics`, without installing it."""
    card, content = _own_card(rows, fitted, run)
    card = msgspec.structs.replace(card, metrics={**card.metrics, **metrics})
    save_artifact(run.out, card, content, as_newest=False)
    return card


def _own_card(rows: Impressions, fitted: FittedEngagement, run: OwnRun) -> tuple[ModelCard, bytes]:
    """Return the card and the bytes of a model of own impressions, and keep these."""
    content = pack(fitted)
    kept = save_impressions(run.out, rows) if run.keeps_rows else None
    digest = sha256_of(pack_impressions(rows)) if kept is None else kept.sha256
    uses = [
        DataUse(_IMPRESSIONS, fitted.rows[head.kind], OWN_DATA, head.kind, digest, snapshot=kept)
        for head in ENGAGEMENT.heads
    ]
    card = _card(uses, fitted, sha256_of(content), run.day)
    card = msgspec.structs.replace(
        card,
        command=run.command,
        metrics={**card.metrics, "impressions": float(len(rows)), **_effect_metrics(fitted)},
        weaknesses=[_OWN_RATE, _OWN_AUTHORS, *card.weaknesses[2:]],
        parameters={**card.parameters, "effects": _effect_settings(), **run.settings},
    )
    return card, content


def _uses(folder: Path, recipe: EngagementRecipe, fitted: FittedEngagement) -> list[DataUse]:
    uses = []
    for head in recipe.heads:
        file = f"{head.dataset.file if head.dataset else FILE}.csv.gz"
        licence = head.dataset.licence if head.dataset else "CC BY 4.0 (its authors)"
        split = head.dataset.split_rule if head.dataset else SPLIT_RULE
        digest = sha256_of_file(folder / file)
        uses.append(DataUse(file, fitted.rows[head.kind], licence, head.kind, digest, split))
    return uses


def _card(uses: list[DataUse], fitted: FittedEngagement, sha256: str, day: str) -> ModelCard:
    settings: dict[str, Any] = msgspec.to_builtins(ENGAGEMENT, enc_hook=str)
    return ModelCard(
        name="engagement",
        sha256=sha256,
        trained_on=day,
        summary="The probability that whoever is shown a post clicks it: a prior from the text "
        "and the kind of media, moved by decayed counts.",
        features=len(FEATURES),
        data=uses,
        metrics={
            "base_rate": fitted.base,
            "prior_weight_impressions": fitted.prior_weight,
            **{f"log_lift_per_deviation.{k}": w for k, w in fitted.head_weights.items()},
            **_media_metrics(fitted),
        },
        weaknesses=[
            "its rate is that of headlines of one publisher, 2013-2015: until counts come, it is "
            "a probability on posts like those alone, and an order on others",
            "no author, community, time or position; English only",
            "the kind of media moves it by what it adds to likes and shares of news pages, where "
            "it is known: no headline test says what it does to clicks",
            "where a product logs no impressions its value ranks posts and is no probability",
            "whoever is paid by clicks gets clickbait: weigh it against quality",
        ],
        command="feedmill train engagement --data DATA",
        intended_use=(
            "to rank the posts of a newsfeed beside other objectives, not alone",
            "not to judge authors, and not to set prices of advertisements",
        ),
        factors=("the group (test, page, subreddit) of a post: figures are within groups",),
        ethics=("what draws clicks is not what is good for readers, or true",),
        licence=MODEL_LICENCE,
        code=code_version(),
        libraries=library_versions(),
        recipe="engagement",
        parameters={key: settings[key] for key in ("heads", "trees", "most_rows")},
        seed=SEED,
    )


def _media_metrics(fitted: FittedEngagement) -> dict[str, float]:
    """Return by how much each kind of media lifts the prior, in log; none where all are 0."""
    lifts = sum_media(fitted.media, fitted.head_weights).tolist()
    return {f"log_lift_of_media.{k}": x for k, x in zip(MEDIA_KINDS, lifts, strict=False) if x}


def _effect_metrics(fitted: FittedEngagement) -> dict[str, float]:
    """Return how many authors are known, and how far authors and hours move the prior, in log."""
    effects = fitted.effects
    if effects is None:
        return {}
    found = {"known_authors": float(len(effects.keys))}
    for name, values in (("authors", effects.authors), ("hours", effects.hours)):
        if values.any():
            found[f"log_lift_deviation.{name}"] = float(values[:-1].std())
    return found


def _effect_settings() -> dict[str, list[float | None]]:
    """Return the penalties of the recipe; None: no effect."""
    penalties = ENGAGEMENT.effects
    return {
        name: [None if np.isinf(penalty) else penalty for penalty in values]
        for name, values in (("hours", penalties.hours), ("authors", penalties.authors))
    }
