"""Labelled posts from the topics `labels` and `posts`, for `feedmill train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.training.label_join import LabelJoin, topic_dataset
from feedmill.training.progress import Tell, silent
from feedmill.training.training_data import Dataset, TrainingData

QUALITY = "quality"


def add_labels(
    environment: Environment,
    target: str,
    data: TrainingData,
    since_ms: int,
    tell: Tell = silent,
) -> tuple[TrainingData, dict[str, int]]:
    """Add the posts of the topics that have labels of a target.

    The posts without such a label become ordinary posts if `data` has none.

    Returns
    -------
    The data, and how many labels and posts were left out, by the reason.

    Raises
    ------
    UsageError
        There is no labelled post.
    """
    join = _read_labels(environment, target, since_ms, tell)
    labelled = join.labelled()
    _check_some(target, labelled)
    data = replace(data, labelled=(*data.labelled, topic_dataset("labels", labelled)))
    if not data.ordinary and (unlabelled := join.unlabelled()):
        ordinary = topic_dataset("posts", [(post, 0.0) for post in unlabelled])
        data = replace(data, ordinary=(ordinary,))
    return data, join.left_out


def read_ratings(
    environment: Environment, since_ms: int, tell: Tell = silent
) -> tuple[Dataset, dict[str, int]]:
    """Read the posts that have labels of quality, each with the mean of its labels.

    Returns
    -------
    The data set, grouped by author, and how many labels were left out, by the reason.

    Raises
    ------
    UsageError
        There is no labelled post.
    """
    join = _read_labels(environment, QUALITY, since_ms, tell)
    rated = [
        (post, sum(label.value for label in labels) / len(labels)) for post, labels in join.judged()
    ]
    _check_some(QUALITY, rated)
    return topic_dataset("labels", rated), join.left_out


def _read_labels(environment: Environment, target: str, since_ms: int, tell: Tell) -> LabelJoin:
    join = LabelJoin(target, since_ms)
    for record in read_all(environment, "labels", partial(tell, "reading labels")):
        join.add_label(record.key, record.value)
    for record in read_all(environment, "posts", partial(tell, "reading posts")):
        join.add_post(record.key, record.value, record.at_ms)
    return join


def _check_some(target: str, labelled: Sequence[object]) -> None:
    if not labelled:
        raise UsageError(
            f"no labels of `{target}` with their posts in the topics labels and posts: --since"
            " leaves earlier ones out, `feedmill labels sample` draws posts for raters"
        )
