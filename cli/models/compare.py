"""`feedmill models compare|diff`: two versions of a model beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import numpy as np

from feedmill.cli import COUNT, Duration, option
from feedmill.cli.models.versions import model_argument
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, number_text, table_of
from feedmill.cli.train_summary import metrics_table
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Policy
from feedmill.events.settings import Settings
from feedmill.filters.model import STORE
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import ModelCard
from feedmill.operations.releases import chosen_card, read_history
from feedmill.operations.setting_changes import read_settings_log
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord, read_all
from feedmill.streams.releases.model_comparison import (
    PairsFold,
    ShadowPairs,
    decided_otherwise,
    moved_in_top,
    ranking_change,
    rates,
    value_correlation,
)
from feedmill.streams.releases.release_log import BY_TEXT
from feedmill.streams.scoring.candidate_scoring import SHADOW_TOPIC
from feedmill.streams.settings.clock import now_ms
from feedmill.training.arrays import Values
from feedmill.training.continual.rated_posts import LabelOf, audited_posts, rated_posts
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.paired_brier import audited_brier, rated_brier
from feedmill.training.evaluation.side_by_side import kept_data, measured_beside
from feedmill.training.label_join import LabelJoin, majority, mean_label

_HOUR_MS = 3_600_000
_VERSION_DIGITS = 12
_WHO = ("champion", "challenger")


@click.command("compare")
@click.argument("model", type=click.Choice(BY_TEXT))
@option("--version VERSION", "The challenger.  [the last one named]")
@option("--since", "The posts of so long.  [1h]", Duration(), _HOUR_MS, name="since_ms")
@option("--feed FEED", "Its weights and gates.  [the general]", default="")
@option("--top N", "Compare the best N posts of both.", COUNT, 50, name="size")
@option(
    "--examples N",
    "Draw so many of the posts that both treat differently.",
    click.IntRange(min=0),
    10,
)
@option("--seed N", "Draws them.", default=0)
@asks_installation
def compare(
    environment: Environment,
    model: str,
    version: str | None,
    since_ms: int,
    feed: str,
    size: int,
    examples: int,
    seed: int,
) -> Answer:
    """Compare a challenger with the version in force on the live posts that both scored.

    Shows what each would hide and demote at the thresholds in force, how the ranking would change
    at the weights in force, the Brier scores on posts that have labels by now, and the posts that
    differ. What rules and campaigns decided is left out; `feedmill models shadow` names a
    challenger.
    """
    start_ms = now_ms() - since_ms
    pairs, labels = _read(environment, model, _challenger(environment, model, version), start_ms)
    if not len(pairs):
        reasons = ", ".join(f"{count} {why}" for why, count in pairs.left_out.items())
        raise UsageError(
            f"no post of this time was scored by {pairs.challenger} and the version in force"
            f" ({reasons or '`shadow` has none'}); give a longer --since, or see `feedmill models"
            " health`"
        )
    settings = read_settings_log(environment).settings
    found = _compared(pairs, settings, feed, size, examples, seed)
    found |= _calibration(pairs, labels, model)
    return Answer(found, _lines(found))


def _challenger(environment: Environment, model: str, version: str | None) -> str:
    """Return the version, twelve digits, that is to be compared."""
    if version is not None:
        if len(version) < _VERSION_DIGITS:
            raise click.UsageError(f"--version: expected {_VERSION_DIGITS} digits or more")
        return version[:_VERSION_DIGITS]
    named = read_history(environment).last_named(model)
    if named is None:
        raise UsageError(
            f"no version of `{model}` ever scored in shadow; `feedmill models shadow {model}"
            " <version>` begins it"
        )
    return named.version


def _read(
    environment: Environment, model: str, challenger: str, start_ms: int
) -> tuple[ShadowPairs, list[TopicRecord]]:
    """Read both versions' values and the labels from a time on, each topic to its end of now."""
    fold = PairsFold(model, challenger, environment.signals)
    for record in read_all(environment, SHADOW_TOPIC, since_ms=start_ms):
        fold.add_shadow(record.key, record.value)
    for record in read_all(environment, "posts", since_ms=start_ms):
        fold.add_post(record.key, record.value, record.offset, record.at_ms)
    for name in environment.signals.all:
        for record in read_all(environment, f"signals.{name}", since_ms=start_ms):
            fold.add_signal(name, record.key, record.value)
    return fold.pairs(), [*read_all(environment, "labels", since_ms=start_ms)]


def _compared(
    pairs: ShadowPairs, settings: Settings, feed: str, size: int, examples: int, seed: int
) -> dict[str, Any]:
    """Return everything but the labels as JSON shows it."""
    policy = Policy(settings.weights_of(feed), settings.gates_of(feed))
    at_ms, gate = now_ms(), policy.gates.get(pairs.model)
    change = ranking_change(pairs, policy, at_ms, size)
    found: dict[str, Any] = {
        "model": pairs.model,
        "champion": pairs.champion,
        "challenger": pairs.challenger,
        "posts": len(pairs),
        "left_out": dict(pairs.left_out),
        "correlation": value_correlation(pairs),
        "ranking": change._asdict(),
    }
    if gate is not None:
        found["decisions"] = rates(pairs, gate)._asdict()
        count, drawn = decided_otherwise(pairs, gate, examples, seed)
    else:
        count, drawn = moved_in_top(pairs, policy, at_ms, size, examples, seed)
    found["differ"], found["examples"] = count, [one._asdict() for one in drawn]
    return found


def _calibration(pairs: ShadowPairs, labels: Sequence[TopicRecord], model: str) -> dict[str, Any]:
    """Return the Brier scores on the posts whose labelled version both scored.

    Those that were drawn at random stand apart, under `audit`; None without one.
    """
    join = LabelJoin(model)
    for record in labels:
        join.add_label(record.key, record.value)
    for post, at_ms in zip(pairs.posts, pairs.arrived_ms.tolist(), strict=True):
        join.add_post(post.post_id.encode(), encode(post), at_ms)
    judged = join.judged()
    label_of: LabelOf = majority if model in FILTERS else mean_label
    rated, audited = rated_posts(judged, label_of), audited_posts(judged, label_of)
    found = rated_brier(rated, *_values_of(pairs, [row.post.post_id for row in rated]))
    audit = audited_brier(audited, *_values_of(pairs, [row.post.post_id for row in audited]))
    return {
        "labels": None if found is None else found._asdict(),
        "audit": None if audit is None else audit._asdict(),
    }


def _values_of(pairs: ShadowPairs, post_ids: Sequence[str]) -> tuple[Values, Values]:
    place = {post.post_id: n for n, post in enumerate(pairs.posts)}
    rows = [place[post_id] for post_id in post_ids]
    both = (pairs.champion_values, pairs.challenger_values)
    champion, challenger = (one[rows].astype(np.float64) for one in both)
    return champion, challenger


def _lines(found: dict[str, Any]) -> Iterator[str | Table]:
    posts, change = found["posts"], found["ranking"]
    yield (
        f"{found['model']}: champion {found['champion']}, challenger {found['challenger']},"
        f" {posts:,} posts that both scored"
    )
    yield from (f"left out: {count:,} {reason}" for reason, count in found["left_out"].items())
    yield ""
    yield Table(("", "champion>", "challenger>"), [*_rows(found)])
    yield (
        f"\ncorrelation of the values: {number_text(found['correlation'], 3)}\n"
        f"ranking: {change['kept']} of the best {change['top']} stay, correlation"
        f" {number_text(change['correlation'], 3)} over {change['shown']:,} posts that both show"
    )
    for name, groups in (("labels", "raters"), ("audit", "authors")):
        labels = found[name]
        if labels is None:
            yield f"{name}: none of these posts yet"
        else:
            yield (
                f"{name}: {labels['posts']:,} posts of {labels['groups']} {groups}, mean"
                f" {labels['labelled']:.3f}; the challenger's Brier score is lower by"
                f" {_interval(labels['difference'])}"
            )
    what = "decided otherwise" if "decisions" in found else f"in one of the best {change['top']}"
    yield f"{what}: {found['differ']:,} posts"
    if found["examples"]:
        yield ""
        yield table_of(found["examples"], _EXAMPLE_COLUMNS)


_EXAMPLE_COLUMNS: Columns = {
    "post": "post_id",
    "champion>": "champion:.4f",
    "challenger>": "challenger:.4f",
    "champion does": "champion_does",
    "challenger does": "challenger_does",
}


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of both versions."""
    if "decisions" in found:
        for name, word in (("hide", "hidden"), ("demote", "demoted")):
            counts = (found["decisions"][who][name] for who in _WHO)
            yield word, *(f"{count:,} ({count / found['posts']:.2%})" for count in counts)
    for name in ("labels", "audit"):
        if (labels := found[name]) is not None:
            yield f"mean value, {name}", *(f"{labels[f'{who}_mean']:.3f}" for who in _WHO)
            yield f"Brier score, {name}", *(_interval(labels[who]) for who in _WHO)


def _interval(figure: Figure) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


@click.command("diff")
@model_argument
@click.argument("old")
@click.argument("new", required=False)
@asks_installation
def diff(environment: Environment, model: str, old: str, new: str | None) -> Answer:
    """Compare the metrics of two versions, and their data; by default with the one in force.

    Of a filter the rows that trained one version and are kept in the store measure the other, too,
    unless it learned them. Other metrics of two cards are of the same rows only if both versions
    were tested on them.
    """
    cards = chosen_card(environment, model, old), chosen_card(environment, model, new)
    before, after = (_metrics(environment, *pair) for pair in (cards, cards[::-1]))
    files = [{f"{use.file} ({use.role})": use.rows for use in card.data} for card in cards]
    data = [(n, files[0].get(n), files[1].get(n)) for n in sorted({*files[0], *files[1]})]
    metrics = [
        {"name": name, "old": before.get(name), "new": after.get(name)}
        for name in dict.fromkeys((*before, *after))
    ]
    versions = [card.version for card in cards]
    content: dict[str, Any] = {"old": versions[0], "new": versions[1], "metrics": metrics}
    content["rows"] = [{"file": name, "old": a, "new": b} for name, a, b in data]
    shown = [(name, *("" if n is None else f"{n:,}" for n in counts)) for name, *counts in data]
    table = Table(("rows of", *(f"{version}>" for version in versions)), shown)
    return Answer(content, [*_metrics_lines(model, versions, (before, after)), "", table])


def _metrics(environment: Environment, card: ModelCard, other: ModelCard) -> Mapping[str, float]:
    """Return the metrics of a card, and those on rows of the other that its store keeps."""
    if card.name not in FILTERS or card.sha256 == other.sha256:
        return card.metrics
    spec, store = FILTERS[card.name], environment.models or STORE
    try:
        data = kept_data(spec, other, store)
    except ModuleNotFoundError:  # the rows are Parquet, which needs the extra `train`
        return card.metrics
    if data is None:
        return card.metrics
    return {**measured_beside(spec.load(store, card.sha256), card, data), **card.metrics}


def _metrics_lines(
    model: str, versions: Sequence[str], metrics: Sequence[Mapping[str, float]]
) -> Iterator[str | Table]:
    if model in FILTERS:
        yield metrics_table(versions, metrics)
        return
    rows = [
        (name, *(f"{one[name]:.4f}" if name in one else "" for one in metrics))
        for name in dict.fromkeys(name for one in metrics for name in one)
    ]
    yield Table(("metric", *(f"{version}>" for version in versions)), rows)
