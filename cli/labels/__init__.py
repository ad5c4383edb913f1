"""`feedmill labels sample`: which posts to label next; and the group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

from feedmill.cli import COUNT, SHARE, LazyGroup, option
from feedmill.cli.output import say
from feedmill.cli.post_lines import BadLines, read_posts
from feedmill.cli.score import ScoredLine, load_scorer, score_lines, store_option
from feedmill.events.errors import UsageError
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store
from feedmill.training.label_sample import draw_posts

if TYPE_CHECKING:
    from feedmill.events.post import Post

_PLACES = {"sample": "labels:sample_command", "report": "labels.raters:report_command"}


@click.group(cls=LazyGroup, places=_PLACES)
def labels() -> None:
    """Choose posts for people to label, and see what their labels are worth."""


@click.command("sample")
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
