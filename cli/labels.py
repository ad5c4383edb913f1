"""`feedmill labels sample|report`: which posts to label next, and what labels are worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

from feedmill.cli import COUNT, SHARE, Duration, option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, say, table_of
from feedmill.cli.post_lines import BadLines, read_posts
from feedmill.cli.score import ScoredLine, load_scorer, score_lines, store_option
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.training.label_report import LabelReport, RecordedLabels
from feedmill.training.label_sample import draw_posts

if TYPE_CHECKING:
    from feedmill.events.post import Post


@click.group()
def labels() -> None:
    """Choose posts for people to label, and see what their labels are worth."""


@labels.command("sample")
@click.argument("model", metavar="<filter>", type=click.Choice([*FILTERS]))
@click.argument("file", default="-", metavar="[FILE]", type=click.Path(allow_dash=True))
@option("--count N", "Draw at most so many.", COUNT, 200)
@option(
    "--random FRACTION", "How much of them is drawn at random.", SHARE, 0.5, name="random_fraction"
)
@option("--seed", "The same seed and file draw the same posts.", click.IntRange(min=0), 1)
@store_option
def sample_command(
    *, model: str, file: str, count: int, random_fraction: float, seed: int, store: Store | None
) -> None:
    """Draw posts to label: part at random, part where the filter is least certain.

    FILE has a post in each line, as JSON, plain or gzip; - is standard input.  Each drawn post
    gives a line {"post_id", "value", "version", "drawn", "probability", "post"}, in an order that
    tells nothing.  `probability` is that with which it was drawn: weight its label by the inverse,
    or send it as the label's `sampling_probability` if the label is for the audit.  `drawn` is
    random or uncertain.  Lines with errors go to standard error, and the exit code is then 1.
    """
    scorer = load_scorer(model, store)
    bad = BadLines()
    scored = list(_scored(score_lines(scorer, read_posts(file)), bad))
    if not scored:
        bad.check()
        raise UsageError(f"no posts in {file}: expected a post in each line, as JSON")
    rng = np.random.default_rng(seed)
    values = np.array([value for _, value in scored])
    sample = draw_posts(values, count, random_fraction, rng)
    for place in rng.permutation(len(sample.rows)).tolist():
        post, value = scored[int(sample.rows[place])]
        line = {
            "post_id": post.post_id,
            "value": value,
            "version": scorer.version,
            "drawn": "random" if sample.at_random[place] else "uncertain",
            "probability": float(sample.probabilities[place]),
            "post": post,
        }
        say(msgspec.json.encode(line))
    bad.check()


def _scored(lines: Iterable[ScoredLine], bad: BadLines) -> Iterator[tuple[Post, float]]:
    """Yield the scored posts; tells the errors."""
    for line in lines:
        if line.post is None:
            bad.tell(f"line {line.number}: {line.error}")
        else:
            bad.good += 1
            yield line.post, line.value


_WEEK_MS = 7 * 86_400_000
_MOST_RATERS = 20


@labels.command("report")
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
