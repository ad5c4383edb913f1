"""`feedmill score <model> [FILE]`: what a model says of posts in a file, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import click
import msgspec
import numpy as np

from feedmill.cli import flag, option
from feedmill.cli.options import StoreType
from feedmill.cli.output import say, warn
from feedmill.cli.post_lines import BadLines, read_engagements, read_posts
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Post
from feedmill.features.counters import Counters, update, weight_of
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import ValueExplanation, explain_post
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import find_card
from feedmill.models.store_files import Store
from feedmill.models.text_model import Scores
from feedmill.rankers.registry import ENGAGEMENT_RANKER, RANKERS, TEXT_RANKERS
from feedmill.streams.environment import read_environment
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.releases.loading import shipped_store

BATCH = 256

store_option = option(
    "--model STORE",
    "Take the model from this store.  [FEEDMILL_MODELS, else the shipped one]",
    StoreType(),
    name="store",
)


class PostScorer(NamedTuple):
    """A loaded model: its version, what scores a batch: (len(batch),) float64, and what explains.

    `explain` is None for a model that nothing here explains, `variance` for one that states none;
    it is NaN of a post that has none.
    """

    version: str
    score: Callable[[PostBatch], Scores]
    explain: Callable[[Post], ValueExplanation] | None = None
    variance: Callable[[Post], float] | None = None


class ScoredLine(NamedTuple):
    """A line of the input: a post with its value, or an error.

    `value` is a float32, as in a signal.
    """

    number: int
    post: Post | None
    value: float
    error: str


@click.command()
@click.argument("model", type=click.Choice([*FILTERS, *RANKERS]))
@click.argument("file", default="-", metavar="[FILE]", type=click.Path(allow_dash=True))
@option(
    "--engagements FILE",
    "Count the engagements of this file in; for the model engagement.",
    click.Path(),
)
@flag("--explain", "Also say which words and evidence made the value.")
@store_option
@option(
    "--version VERSION",
    "Take this version of the store, by its first six digits or more.  [the one trained last]",
)
def score(
    *,
    model: str,
    file: str,
    engagements: str | None,
    explain: bool,
    store: Store | None,
    version: str | None,
) -> None:
    """Score posts by a model alone: without rules, near copies and other posts.

    FILE has a post in each line, as JSON, plain or gzip; - is standard input.  Each post gives a
    line {"post_id", "value", "version"}.  What is wrong with a line goes to standard error with
    its number, and the exit code is then 1.

    A line of engagement has the "variance" of the click rate too, null where no impression is known
    of a post with reactions.

    With --explain each line of a filter has an "explanation": parts that add up to its "log_odds".
    """
    if explain and model not in FILTERS:
        raise UsageError(f"--explain is for the filters: {', '.join(FILTERS)}")
    if engagements is not None and model != ENGAGEMENT_RANKER.name:
        raise UsageError(f"--engagements is for the model {ENGAGEMENT_RANKER.name} alone")
    counted, failed = ({}, 0) if engagements is None else _count(engagements)
    scorer = load_scorer(model, store, counted, version)
    bad = BadLines()
    for line in score_lines(scorer, read_posts(file)):
        if line.post is None:
            bad.tell(f"line {line.number}: {line.error}")
            continue
        bad.good += 1
        fields: dict[str, object] = {
            "post_id": line.post.post_id,
            "value": line.value,
            "version": scorer.version,
        }
        if scorer.variance:
            fields["variance"] = scorer.variance(line.post)  # NaN is null in JSON
        if explain and scorer.explain:
            fields["explanation"] = scorer.explain(line.post)
        say(msgspec.json.encode(fields))
    bad.check(failed)


def load_scorer(
    name: str,
    store: Store | None,
    counted: dict[str, Counters] | None = None,
    version: str | None = None,
) -> PostScorer:
    """Load a filter or a ranker; `counted` has counts by post, for the ranker of engagement.

    Raises `BadArtifact` where the model is missing or was altered, `UsageError` where the store has
    no such version, or several.
    """
    store = store or read_environment().models
    sha256 = None
    if version is not None:
        shipped = shipped_store(name)
        sha256 = find_card(store or shipped, name, version, shipped).sha256
    if name == ENGAGEMENT_RANKER.name:
        ranker = ENGAGEMENT_RANKER.load(store, sha256)
        by_post = counted or {}

        def expected(batch: PostBatch) -> Scores:
            counters = [by_post.get(post.post_id, Counters()) for post in batch.posts]
            return ranker.score_many(ranker.prior_batch(batch), counters)

        def variance(post: Post) -> float:
            counters = [by_post.get(post.post_id, Counters())]
            return float(ranker.variance_many(ranker.prior_many([post]), counters)[0])

        return PostScorer(ranker.version, expected, variance=variance)
    if name in FILTERS:
        filter_ = FILTERS[name].load(store, sha256)
        return PostScorer(filter_.version, filter_.score_batch, partial(explain_post, filter_))
    text_ranker = TEXT_RANKERS[name].load(store, sha256)
    return PostScorer(text_ranker.version, text_ranker.score_batch)


def score_lines(
    scorer: PostScorer, lines: Iterable[tuple[int, Post | BadEvent]]
) -> Iterator[ScoredLine]:
    """Score posts in batches; every line comes out again, in order."""
    left = iter(lines)
    while batch := [*islice(left, BATCH)]:
        values = iter(_scores(scorer, [post for _, post in batch if isinstance(post, Post)]))
        for number, post in batch:
            value = str(post) if isinstance(post, BadEvent) else next(values)
            if isinstance(post, BadEvent) or isinstance(value, str):
                yield ScoredLine(number, None, 0.0, str(value))
            else:
                yield ScoredLine(number, post, value, "")


def _scores(scorer: PostScorer, posts: Sequence[Post]) -> list[float | str]:
    """Return each post's value, or why the model failed on it."""
    if not posts:
        return []
    try:
        return list(np.asarray(scorer.score(PostBatch(posts)), np.float32).tolist())
    except Exception as error:  # noqa: BLE001 - a model may raise anything, as in a stage
        if len(posts) == 1:
            return [f"the model failed: {error!r}"]
    return [value for post in posts for value in _scores(scorer, [post])]


def _count(path: str) -> tuple[dict[str, Counters], int]:
    """Count a file's engagements by post, and its bad lines.

    Each `event_id` of a user and a post counts once, and each user once a kind and day.
    """
    counted: dict[str, Counters] = {}
    seen: set[tuple[str, str, str]] = set()
    users: set[tuple[str, str, str, int]] = set()
    failed, examination = 0, read_environment().examination
    for number, event in read_engagements(path):
        if isinstance(event, BadEvent):
            failed += 1
            warn(f"{path}, line {number}: {event}")
            continue
        if event.event_id is not None:
            named = (event.post_id, event.user_id, event.event_id)
            if named in seen:
                continue
            seen.add(named)
        user = (event.post_id, event.kind, event.user_id, event.at_ms // DAY_MS)
        if user in users:
            continue
        users.add(user)
        counters = counted.setdefault(event.post_id, Counters())
        weight = weight_of(event.kind, event.position, examination)
        update(counters, event.kind, event.at_ms, event.dwell_ms, weight=weight)
    return counted, failed
