"""`feedmill labels report`: raters, delays and calibration, from the topics."""

from __future__ import annotations

from collections.abc import Iterator

import click

from feedmill.cli import Duration, option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, table_of
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.training.label_report import LabelReport, RecordedLabels

_WEEK_MS = 7 * 86_400_000
_MOST_RATERS = 20


@click.command("report")
@click.argument("model", metavar="<filter>", type=click.Choice([*FILTERS]))
@option("--since", "The labels of so long.  [7d]", Duration(), _WEEK_MS, name="since_ms")
@asks_installation
def report_command(environment: Environment, model: str, since_ms: int) -> Answer:
    """Show what labels say of raters, of their delay, and of the versions that scored the posts.

    Raters who share posts with others have a sensitivity and a specificity, by the model of Dawid
    and Skene.  A version is calibrated where its mean value equals the share of violating posts in
    the audit; labels of posts that somebody chose are no sample.  Posts are those of a week more.
    """
    start_ms = now_ms() - since_ms
    recorded = RecordedLabels(model, environment.signals, start_ms)
    for record in read_all(environment, "labels", since_ms=start_ms):
        recorded.add_label(record.key, record.value)
    for record in read_all(environment, "posts", since_ms=start_ms - _WEEK_MS):
        recorded.add_post(record.key, record.value, record.at_ms)
    for record in read_all(environment, f"signals.{model}", since_ms=start_ms - _WEEK_MS):
        recorded.add_signal(record.key, record.value)
    found = recorded.report()
    return Answer(found, _lines(model, found))


def _lines(model: str, found: LabelReport) -> Iterator[str | Table]:
    if not found.labels:
        raise UsageError(f"no labels of {model} in this time; give a longer --since")
    yield f"{found.labels:,} labels of {found.posts:,} posts"
    yield from (f"left out: {count:,} {reason}" for reason, count in found.left_out.items())
    delays = "  ".join(f"{edge} {count:,}" for edge, count in found.delays.items())
    median_s = found.median_delay_ms / 1000
    yield f"from post to label, within: {delays}; median {median_s:,.0f} s\n"
    yield table_of(found.raters[:_MOST_RATERS], _RATER_COLUMNS)
    if len(found.raters) > _MOST_RATERS:
        yield f"and {len(found.raters) - _MOST_RATERS} more raters: --json lists them"
    for rows, columns in ((found.versions, _VERSION_COLUMNS), (found.doubts, _DOUBT_COLUMNS)):
        if rows:
            yield ""
            yield table_of(rows, columns)


_RATER_COLUMNS: Columns = {
    "rater": "rater",
    "labels>": "labels:,",
    "violating>": lambda row: f"{row.violating / row.labels:.0%}",
    "shared>": "shared:,",
    "sensitivity>": "sensitivity:.2f",
    "specificity>": "specificity:.2f",
}
_VERSION_COLUMNS: Columns = {
    "version": "version",
    "drawn": "drawn",
    "posts>": "posts:,",
    "value>": "mean_value:.3f",
    "violating>": "violating:.3f",
    "gap>": lambda row: str(row.gap),
    "Brier score>": lambda row: str(row.brier),
}
_DOUBT_COLUMNS: Columns = {
    "look again at": "post_id",
    "label>": "label:.0f",
    "value>": "value:.3f",
    "version": "version",
    "raters": "raters",
}
