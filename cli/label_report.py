"""`feedmill labels report`: raters, delays and calibration, from the topics."""

from __future__ import annotations

import click
import msgspec

from feedmill.cli.duration import Duration
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.settings.clock import now_ms
from feedmill.training.label_report import Doubt, LabelReport, RaterRow, RecordedLabels, VersionRow

_WEEK_MS = 7 * 86_400_000
_MOST_RATERS = 20


@click.command("report")
@click.argument("model", metavar="<filter>", type=click.Choice([*FILTERS]))
@click.option(
    "--since", "since_ms", type=Duration(), default=_WEEK_MS, help="The labels of so long.  [7d]"
)
@json_option
@with_environment
def report_command(environment: Environment, model: str, since_ms: int, as_json: bool) -> None:
    """Show what labels say of raters, of their delay, and of the versions that scored the posts.

    Raters who share posts with others have a sensitivity and a specificity, by the model of Dawid
    and Skene.  A version is calibrated where its mean value equals the share of violating posts in
    the audit; labels of posts that somebody chose are no sample.  Posts are those of a week more.
    """
    found = _recorded(environment, model, now_ms() - since_ms).report()
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    if not found.labels:
        raise UsageError(f"no labels of {model} in this time; give a longer --since")
    _print_report(found)


def _recorded(environment: Environment, model: str, since_ms: int) -> RecordedLabels:
    """Read the three topics, each to its end of now."""
    recorded = RecordedLabels(model, environment.signals, since_ms)
    with open_topic(environment, "labels") as reader:
        reader.seek_to_time(since_ms)
        for record in reader.read_to_end():
            recorded.add_label(record.key, record.value)
    with open_topic(environment, "posts") as reader:
        reader.seek_to_time(since_ms - _WEEK_MS)
        for record in reader.read_to_end():
            recorded.add_post(record.key, record.value, record.at_ms)
    with open_topic(environment, f"signals.{model}") as reader:
        reader.seek_to_time(since_ms - _WEEK_MS)
        for record in reader.read_to_end():
            recorded.add_signal(record.key, record.value)
    return recorded


def _print_report(found: LabelReport) -> None:
    click.echo(f"{found.labels:,} labels of {found.posts:,} posts")
    for reason, count in found.left_out.items():
        click.echo(f"left out: {count:,} {reason}")
    delays = "  ".join(f"{edge} {count:,}" for edge, count in found.delays.items())
    median_s = found.median_delay_ms / 1000
    click.echo(f"from post to label, within: {delays}; median {median_s:,.0f} s\n")
    raters = ("rater", "labels>", "violating>", "shared>", "sensitivity>", "specificity>")
    print_table(raters, [_rater_row(row) for row in found.raters[:_MOST_RATERS]])
    if len(found.raters) > _MOST_RATERS:
        click.echo(f"and {len(found.raters) - _MOST_RATERS} more raters: --json lists them")
    if found.versions:
        click.echo()
        versions = ("version", "drawn", "posts>", "value>", "violating>", "gap>", "Brier score>")
        print_table(versions, [_version_row(row) for row in found.versions])
    if found.doubts:
        click.echo()
        rows = [_doubt_row(row) for row in found.doubts]
        print_table(("look again at", "label>", "value>", "version", "raters"), rows)


def _rater_row(row: RaterRow) -> tuple[str, ...]:
    rates = ("-" if rate is None else f"{rate:.2f}" for rate in (row.sensitivity, row.specificity))
    counts = f"{row.labels:,}", f"{row.violating / row.labels:.0%}", f"{row.shared:,}"
    return (row.rater, *counts, *rates)


def _version_row(row: VersionRow) -> tuple[str, ...]:
    shares = f"{row.mean_value:.3f}", f"{row.violating:.3f}"
    return (row.version, row.drawn, f"{row.posts:,}", *shares, str(row.gap), str(row.brier))


def _doubt_row(row: Doubt) -> tuple[str, ...]:
    values = f"{row.label:.0f}", f"{row.value:.3f}"
    return (row.post_id, *values, row.version, ", ".join(row.raters))
