"""`feedmill models compare`: a challenger beside the champion, on the same posts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import numpy as np

from feedmill.cli.duration import Duration
from feedmill.cli.model_versions import read_history
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, plain_table, print_json
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Policy
from feedmill.events.settings import Settings
from feedmill.filters.registry import FILTERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord, open_topic, read_all
from feedmill.streams.releases.candidates import SHADOW_TOPIC
from feedmill.streams.releases.loading import BY_TEXT
from feedmill.streams.releases.model_comparison import (
    PairsFold,
    ShadowPairs,
    decided_otherwise,
    moved_in_top,
    ranking_change,
    rates,
    value_correlation,
)
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log
from feedmill.training.arrays import Values
from feedmill.training.continual.rated_posts import audited_posts, rated_posts
from feedmill.training.evaluation.paired_brier import (
    PairedBrier,
    audited_brier,
    mean_label,
    rated_brier,
)
from feedmill.training.label_join import LabelJoin, majority

_HOUR_MS = 3_600_000
_VERSION_DIGITS = 12
_WHO = ("champion", "challenger")


@click.command("compare")
@click.argument("model", type=click.Choice(BY_TEXT))
@click.option("--version", metavar="VERSION", help="The challenger.  [the last one named]")
@click.option(
    "--since", "since_ms", type=Duration(), default=_HOUR_MS, help="The posts of so long.  [1h]"
)
@click.option("--feed", default="", metavar="FEED", help="Its weights and gates.  [the general]")
@click.option(
    "--top",
    "size",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Compare the best N posts of both.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Draw so many of the posts that both treat differently.",
)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Draws them.")
@json_option
@with_environment
def compare(
    environment: Environment,
    model: str,
    version: str | None,
    since_ms: int,
    feed: str,
    size: int,
    examples: int,
    seed: int,
    as_json: bool,
) -> None:
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
    settings = fold_log(read_all(environment, "config"), environment.signals).settings
    found = _compared(pairs, settings, feed, size, examples, seed)
    found |= _calibration(pairs, labels, model)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _challenger(environment: Environment, model: str, version: str | None) -> str:
    """Return the version, twelve digits, that is to be compared."""
    if version is not None:
        if len(version) < _VERSION_DIGITS:
            raise click.UsageError(f"--version: expected {_VERSION_DIGITS} digits or more")
        return version[:_VERSION_DIGITS]
    named = read_history(environment).last_challenger(model)
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
    with _from(environment, SHADOW_TOPIC, start_ms) as reader:
        for record in reader.read_to_end():
            fold.add_shadow(record.key, record.value)
    with _from(environment, "posts", start_ms) as reader:
        for record in reader.read_to_end():
            fold.add_post(record.key, record.value, record.offset, record.at_ms)
    for name in environment.signals.all:
        with _from(environment, f"signals.{name}", start_ms) as reader:
            for record in reader.read_to_end():
                fold.add_signal(name, record.key, record.value)
    with _from(environment, "labels", start_ms) as reader:
        labels = list(reader.read_to_end())
    return fold.pairs(), labels


@contextmanager
def _from(environment: Environment, topic: str, start_ms: int) -> Iterator[TopicReader]:
    with open_topic(environment, topic) as reader:
        reader.seek_to_time(start_ms)
        yield reader


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
    judged, label_of = join.judged(), majority if model in FILTERS else mean_label
    rated, audited = rated_posts(judged, label_of), audited_posts(judged, label_of)
    found = rated_brier(rated, *_values_of(pairs, [row.post.post_id for row in rated]))
    audit = audited_brier(audited, *_values_of(pairs, [row.post.post_id for row in audited]))
    return {"labels": _figures(found), "audit": _figures(audit)}


def _values_of(pairs: ShadowPairs, post_ids: Sequence[str]) -> tuple[Values, Values]:
    place = {post.post_id: n for n, post in enumerate(pairs.posts)}
    rows = [place[post_id] for post_id in post_ids]
    both = (pairs.champion_values, pairs.challenger_values)
    champion, challenger = (one[rows].astype(np.float64) for one in both)
    return champion, challenger


def _figures(found: PairedBrier | None) -> dict[str, Any] | None:
    """Return what JSON shows: each figure as [value, low, high]."""
    if found is None:
        return None
    figures: dict[str, Any] = {
        name: [figure.value, figure.low, figure.high]
        for name, figure in (
            ("champion", found.champion),
            ("challenger", found.challenger),
            ("difference", found.difference),
        )
    }
    return {**found._asdict(), **figures}


def _print(found: dict[str, Any]) -> None:
    versions = found["champion"], found["challenger"]
    click.echo(
        f"{found['model']}: champion {versions[0]}, challenger {versions[1]},"
        f" {found['posts']:,} posts that both scored"
    )
    for reason, count in found["left_out"].items():
        click.echo(f"left out: {count:,} {reason}")
    click.echo()
    click.echo(plain_table(("", "champion>", "challenger>"), _rows(found)))
    click.echo()
    click.echo(f"correlation of the values: {_number(found['correlation'])}")
    change = found["ranking"]
    click.echo(
        f"ranking: {change['kept']} of the best {change['top']} stay, correlation"
        f" {_number(change['correlation'])} over {change['shown']:,} posts that both show"
    )
    click.echo(_label_line("labels", "raters", found["labels"]))
    click.echo(_label_line("audit", "authors", found["audit"]))
    what = "decided otherwise" if "decisions" in found else f"in one of the best {change['top']}"
    click.echo(f"{what}: {found['differ']:,} posts")
    if found["examples"]:
        click.echo()
        columns = ("post", "champion>", "challenger>", "champion does", "challenger does")
        click.echo(plain_table(columns, [_example(one) for one in found["examples"]]))


def _rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table of both versions."""
    rows: list[tuple[str, ...]] = []
    for name, word in (("hide", "hidden"), ("demote", "demoted")):
        if "decisions" in found:
            counts = (found["decisions"][who][name] for who in _WHO)
            rows.append((word, *(f"{count:,} ({count / found['posts']:.2%})" for count in counts)))
    for name in ("labels", "audit"):
        if (labels := found[name]) is not None:
            means = (f"{labels[f'{who}_mean']:.3f}" for who in _WHO)
            rows.append((f"mean value, {name}", *means))
            rows.append((f"Brier score, {name}", *(_interval(labels[who]) for who in _WHO)))
    return rows


def _label_line(name: str, groups: str, labels: dict[str, Any] | None) -> str:
    if labels is None:
        return f"{name}: none of these posts yet"
    return (
        f"{name}: {labels['posts']:,} posts of {labels['groups']} {groups}, mean"
        f" {labels['labelled']:.3f}; the challenger's Brier score is lower by"
        f" {_interval(labels['difference'])}"
    )


def _interval(figure: Sequence[float]) -> str:
    return "{:.4f} ({:.4f} to {:.4f})".format(*figure)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _example(one: dict[str, Any]) -> tuple[str, ...]:
    values = (f"{one[who]:.4f}" for who in _WHO)
    return (one["post_id"], *values, one["champion_does"], one["challenger_does"])
