"""What `feedmill train` prints in the end: the model, how good it is, and how to release it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from feedmill.cli.options import proposed
from feedmill.cli.output import plain_table
from feedmill.filters.model import STORE
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store_files import Store
from feedmill.rankers.impressions import Impressions
from feedmill.rankers.registry import TEXT_RANKERS
from feedmill.streams.environment import Environment
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.side_by_side import measured_beside, ratings_beside, title_of
from feedmill.training.training_data import TrainingData

_EMPTY = "an empty place: the version learned these rows itself, or the store does not keep them"


def summary(card: ModelCard, store: Store) -> str:
    """Return what a model is and what it learned from."""
    uses = [[use.file, use.role, f"{use.rows}", use.split] for use in card.data]
    return "\n".join(
        [
            f"{card.name}@{card.version}, {card.features} features, in {store}",
            "",
            plain_table(["learned from", "role", "rows>", "split"], uses),
        ]
    )


def filter_figures(card: ModelCard, data: TrainingData) -> str:
    """Return how good a filter is with what it learned, beside the shipped one."""
    spec = FILTERS[card.name]
    shipped = spec.load()
    beside = measured_beside(shipped, read_card(STORE, card.name), data)
    return _beside(
        "how good it is: labelled posts by models that had not learned them, ordinary posts that"
        " chose the thresholds",
        card,
        shipped.version,
        beside,
    )


def ratings_figures(card: ModelCard, labelled: LabelledPosts) -> str:
    """Return how near a quality ranker is to the labels of a product, beside the shipped one."""
    shipped = TEXT_RANKERS[card.name].load()
    beside = ratings_beside(shipped, labelled.without_test())
    return _beside(
        "how good it is: labelled posts by models that had not learned their authors, before the"
        " trees",
        card,
        shipped.version,
        beside,
    )


def clicks_figures(card: ModelCard, rows: Impressions) -> str:
    """Return how well engagement expects the clicks on later posts, beside the shipped one."""
    from feedmill.training.evaluation.engagement_evaluation import clicks_beside, shipped_engagement  # noqa: PLC0415 scikit-learn

    shipped = shipped_engagement()
    found = clicks_beside(shipped, rows)
    if isinstance(found, str):
        return f"{_of_card(card)}\n\nnot measured beside the shipped {shipped.version}: {found}"
    shown = {"engagement": "trained alike", "constant": "constant"}
    table = [
        [shown.get(one.name, one.name), f"{one.auc:.3f}", f"{one.loss}"]
        for one in found.orders
        if one.name in shown or one.name.startswith("shipped")
    ]
    return (
        f"how good it is: a model of the impressions before, on {found.impressions:,} of"
        f" {found.posts:,} posts that were created later; it learned them too, in the end\n\n"
        + plain_table(["on later posts", "AUC>", "log loss less the smoothed rate's, 1e-4>"], table)
    )


def learned_by_both(card: ModelCard) -> str:
    """Return what a ranker of public data sets says of itself."""
    return (
        f"{_of_card(card)}\n\nnot measured beside the shipped one, which learned data sets of"
        " these names"
    )


def _of_card(card: ModelCard) -> str:
    metrics = [[name, f"{value:.4f}"] for name, value in card.metrics.items()]
    return plain_table(["of the model", "value>"], metrics)


def _beside(title: str, card: ModelCard, shipped: str, beside: Mapping[str, float]) -> str:
    own = {name: value for name, value in card.metrics.items() if title_of(name)[0]}
    table = metrics_table((card.version, f"shipped {shipped}"), (own, beside))
    return f"{title}\n\n{table}"


def metrics_table(versions: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> str:
    """Return metrics of several versions as a table, those of all first."""
    names = list(dict.fromkeys(name for one in metrics for name in one))
    names.sort(key=lambda name: sum(name not in one for one in metrics))
    columns = ["rows of", "", *(f"{version}>" for version in versions)]
    shown = plain_table(columns, list(_rows(names, metrics)))
    is_whole = all(name in one for one in metrics for name in names)
    return shown if is_whole else f"{shown}\n\n{_EMPTY}"


def _rows(names: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> Iterator[list[str]]:
    before = ""
    for name in names:
        source, title = title_of(name)
        values = ["" if name not in one else f"{one[name]:.4f}" for one in metrics]
        yield ["" if source == before else source, title, *values]
        before = source


def release_text(environment: Environment, card: ModelCard, store: Store) -> str:
    """Say that no worker runs the version yet, and by which command workers do."""
    words = ["models", "release", card.name, card.version]
    what = "it is in the store and not in force: no worker runs it, also after a restart, until you"
    if environment.models == store:
        return f"{what} release it:\n\n    {proposed(words)}"
    variables = {"FEEDMILL_MODELS": str(store)}
    return (
        f"{what} release it to workers, which find it if they were started with"
        f" FEEDMILL_MODELS={store}:\n\n    {proposed(words, variables)}"
    )
