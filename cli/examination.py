"""`feedmill examination`: how much each position of a feed is looked at, from engagements."""

from __future__ import annotations

from collections.abc import Iterator

import click
import numpy as np

from feedmill.cli import option
from feedmill.cli.options import with_environment
from feedmill.cli.output import Answer, Table, answers_as
from feedmill.cli.post_lines import read_engagements
from feedmill.events.decode import decode_engagement
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, UsageError
from feedmill.streams.environment import MOST_POSITIONS, Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.training.position_bias import counts_by_position, fit_examination

# A position where nobody clicked is not one where nobody looks.
_LEAST = 0.01


@click.command()
@click.argument("file", required=False, type=click.Path())
@option(
    "--positions",
    "How many positions from the top of a feed.",
    click.IntRange(2, MOST_POSITIONS),
    50,
)
@answers_as("The curve as JSON.")
@with_environment
def examination(*, environment: Environment, file: str | None, positions: int) -> Answer:
    """Estimate how much each position of a feed is looked at, compared with the first.

    It reads the topic engagements, or FILE with an engagement in each line, as JSON, plain or gzip,
    and prints the value of FEEDMILL_EXAMINATION.  Impressions and clicks need their `position`.
    """
    events = _of_topic(environment) if file is None else _of_file(file)
    posts, impressions, clicks = counts_by_position(events, positions)
    if not ((impressions > 0).sum(axis=1) > 1).any():
        raise UsageError(
            f"no post of {len(posts)} has impressions at two positions: nothing tells how much a"
            " position is looked at; send `position` with impressions and clicks"
        )
    curve = np.clip(fit_examination(impressions, clicks), _LEAST, 10.0).round(4).tolist()
    shown, clicked = impressions.sum(axis=0).astype(int), clicks.sum(axis=0).astype(int)
    counts = {"impressions": shown.tolist(), "clicks": clicked.tolist()}
    content = {"examination": curve, **counts, "posts": len(posts)}
    rows = [
        [str(position), f"{shown[position]:,}", f"{clicked[position]:,}", f"{one:.4f}"]
        for position, one in enumerate(curve)
    ]
    variable = f"\nFEEDMILL_EXAMINATION={','.join(f'{one:g}' for one in curve)}"
    table = Table(("position>", "impressions>", "clicks>", "examination>"), rows)
    return Answer(content, [table, variable])


def _of_topic(environment: Environment) -> Iterator[Engagement]:
    for record in read_all(environment, "engagements"):
        try:
            yield decode_engagement(record.key, record.value)
        except BadEvent:
            continue  # `engagement` wrote its dead letter


def _of_file(path: str) -> Iterator[Engagement]:
    for number, event in read_engagements(path):
        if isinstance(event, BadEvent):
            raise UsageError(f"{path}, line {number}: {event}")
        yield event
