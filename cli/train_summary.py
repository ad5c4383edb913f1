"""What `feedmill train` prints in the end: the model, how good it is, and how to release it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from feedmill.cli.output import plain_table
from feedmill.cli.own_command import proposed
from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import STORE
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store_files import Store
from feedmill.streams.settings.environment import Environment
from feedmill.training.evaluation.side_by_side import measured_beside, title_of
from feedmill.training.training_data import TrainingData


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


def figures(card: ModelCard, data: TrainingData | None) -> str:
    """Return how good a model is; of a filter with what it learned, beside the shipped one.

    Raises
    ------
    BadArtifact
        The shipped one cannot be read.
    """
    if data is None:
        metrics = [[name, f"{value:.4f}"] for name, value in card.metrics.items()]
        table = plain_table(["measured on rows that did not train it", "value>"], metrics)
        return (
            f"{table}\n\n`feedmill evaluate {card.name}` measures it beside baselines; on your own"
            " posts and clicks: --from-topics, for engagement"
        )
    spec = FILTERS[card.name]
    shipped = spec.load()
    beside = measured_beside(shipped, read_card(STORE, card.name), data)
    table = metrics_table((card.version, f"shipped {shipped.version}"), (card.metrics, beside))
    return (
        "how good it is: labelled posts by models that had not learned them, ordinary posts that"
        f" chose the thresholds\n\n{table}"
    )


def metrics_table(versions: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> str:
    """Return metrics of several versions as a table, those of all first."""
    names = list(dict.fromkeys(name for one in metrics for name in one))
    names.sort(key=lambda name: sum(name not in one for one in metrics))
    columns = ["rows of", "", *(f"{version}>" for version in versions)]
    return plain_table(columns, list(_rows(names, metrics)))


def _rows(names: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> Iterator[list[str]]:
    before = ""
    for name in names:
        source, title = title_of(name)
        values = ["" if name not in one else f"{one[name]:.4f}" for one in metrics]
        yield ["" if source == before else source, title, *values]
        before = source


def release_text(environment: Environment, card: ModelCard, store: Store) -> str:
    """Return the command that has running workers take the version."""
    words = ["models", "release", card.name, card.version]
    if environment.models == store:
        return f"release it to the running workers:\n\n    {proposed(words)}"
    variables = {"FEEDMILL_MODELS": str(store)}
    return (
        "release it to the running workers, which find it if they were started with"
        f" FEEDMILL_MODELS={store}:\n\n    {proposed(words, variables)}"
    )
