"""Labelled posts from the topics `labels` and `posts`, for `feedmill train --from-labels`."""

from __future__ import annotations

from dataclasses import replace

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.environment import Environment
from feedmill.training.label_join import LabelJoin, topic_dataset
from feedmill.training.training_data import TrainingData


def add_labels(
    environment: Environment, target: str, data: TrainingData, since_ms: int
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
    join = LabelJoin(target, since_ms)
    for record in read_all(environment, "labels"):
        join.add_label(record.key, record.value)
    for record in read_all(environment, "posts"):
        join.add_post(record.key, record.value, record.at_ms)
    labelled = join.labelled()
    if not labelled:
        raise UsageError(f"no labels of `{target}` with their posts in the topics labels and posts")
    data = replace(data, labelled=(*data.labelled, topic_dataset("labels", labelled)))
    if not data.ordinary and (unlabelled := join.unlabelled()):
        ordinary = topic_dataset("posts", [(post, 0.0) for post in unlabelled])
        data = replace(data, ordinary=(ordinary,))
    return data, join.left_out
